package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// check refuses unknown fields, wrong types, broken constraints and unknown panel types.
func check(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var strict, decoded dashboard.Dashboard
	if err := faults(strict.UnmarshalJSONStrict(raw)); err != nil {
		return err
	}
	// the strict decoder finds faults, but leaves the panels empty
	if err := json.Unmarshal(raw, &decoded); err != nil {
		return err
	}
	if err := faults(decoded.Validate()); err != nil {
		return err
	}
	for i, entry := range decoded.Panels {
		if entry.Panel == nil || entry.Panel.Type == "row" {
			continue
		}
		if _, known := cog.ConfigForPanelcfgVariant(entry.Panel.Type); !known {
			return fmt.Errorf("panels[%d]: unknown panel type %q", i, entry.Panel.Type)
		}
	}
	var document any
	if err := json.Unmarshal(raw, &document); err != nil {
		return err
	}
	found := false
	queries(document, func(kind, expression string) {
		found = true
		fmt.Printf("%s\t%s\n", kind, expression)
	})
	if !found {
		return errors.New("no query in it")
	}
	return nil
}

// faults drops the empty list that the SDK returns where nothing is wrong.
func faults(err error) error {
	var list cog.BuildErrors
	if errors.As(err, &list) && len(list) == 0 {
		return nil
	}
	return err
}

// queries visits whatever has an expression, panels and annotations alike.
func queries(value any, visit func(kind, expression string)) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			queries(element, visit)
		}
	case map[string]any:
		if expression, ok := value["expr"].(string); ok {
			source, _ := value["datasource"].(map[string]any)
			kind, _ := source["type"].(string)
			visit(kind, expression)
		}
		for _, element := range value {
			queries(element, visit)
		}
	}
}
