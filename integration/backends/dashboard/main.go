// Command dashboard makes the Grafana dashboard that users are given, and checks dashboards as Grafana would read them.
//
//	dashboard make           prints the dashboard
//	dashboard check FILE...  decodes strictly, and prints each query as TYPE<TAB>EXPRESSION
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
)

func main() {
	plugins.RegisterDefaultPlugins()
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "make":
		return makeDashboard()
	case len(arguments) >= 2 && arguments[0] == "check":
		for _, path := range arguments[1:] {
			if err := check(path); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		return nil
	}
	return fmt.Errorf("usage: dashboard make | dashboard check FILE...")
}

func makeDashboard() error {
	made, err := hunter().Build()
	if err != nil {
		return err
	}
	// the ids that Grafana would give them, so that links to a panel stay what they are
	for i := range made.Panels {
		id := uint32(i + 1)
		if panel := made.Panels[i].Panel; panel != nil {
			panel.Id = &id
		}
		if row := made.Panels[i].RowPanel; row != nil {
			row.Id = id
		}
	}
	text, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(text))
	return err
}
