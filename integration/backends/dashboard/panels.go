package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/logs"
	"github.com/grafana/grafana-foundation-sdk/go/loki"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Both sources are chosen at the head of the dashboard.
var (
	metrics = source("prometheus")
	records = source("loki")
)

func source(kind string) common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr(kind), Uid: cog.ToPtr("${" + kind + "}")}
}

type query = cog.Builder[variants.Dataquery]

// over draws an expression over time; legend names its series.
func over(expression, legend string) query {
	return prometheus.NewDataqueryBuilder().Datasource(metrics).Expr(expression).LegendFormat(legend).Range()
}

// now asks for the latest value only.
func now(expression string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Datasource(metrics).Expr(expression).Instant()
}

// found reads log records.
func found(expression string) *loki.DataqueryBuilder {
	return loki.NewDataqueryBuilder().Datasource(records).Expr(expression).QueryType("range")
}

// letter gives the queries of a panel the names A, B, ... that Grafana tells them apart by.
func letter(queries []query) []query {
	for i, one := range queries {
		name := string(rune('A' + i))
		switch one := one.(type) {
		case *prometheus.DataqueryBuilder:
			one.RefId(name)
		case *loki.DataqueryBuilder:
			one.RefId(name)
		}
	}
	return queries
}

// step is a colour and the value from which it holds.
type step struct {
	from  float64
	color string
}

// colors are in the order of their values; the first holds below all others.
func colors(base string, steps ...step) *dashboard.ThresholdsConfigBuilder {
	all := []dashboard.Threshold{{Color: base}}
	for _, s := range steps {
		all = append(all, dashboard.Threshold{Color: s.color, Value: cog.ToPtr(s.from)})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(all)
}

// figure is one number with its colour, a sixth of the width.
func figure(title, says, unit, nothing string, thresholds *dashboard.ThresholdsConfigBuilder, value query) *stat.PanelBuilder {
	return stat.NewPanelBuilder().Title(title).Description(says).Datasource(metrics).
		Height(4).Span(4).Unit(unit).NoValue(nothing).
		Thresholds(thresholds).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds)).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}).Fields("").Values(false)).
		ColorMode(common.BigValueColorModeBackground).GraphMode(common.BigValueGraphModeNone).
		JustifyMode(common.BigValueJustifyModeAuto).TextMode(common.BigValueTextModeValue).
		Orientation(common.VizOrientationAuto).WideLayout(true).ShowPercentChange(false).
		PercentChangeColorMode(common.PercentChangeColorModeStandard).
		Targets(letter([]query{value}))
}

// curve is a time series, of the width given (of 24).
func curve(title, says, unit string, width uint32, queries ...query) *timeseries.PanelBuilder {
	return timeseries.NewPanelBuilder().Title(title).Description(says).Datasource(metrics).
		Height(8).Span(width).Unit(unit).Min(0).
		FillOpacity(10).LineWidth(1).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).Calcs([]string{})).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)).
		Targets(letter(queries))
}

// lines shows log records, newest first.
func lines(title, says string, value query) *logs.PanelBuilder {
	return logs.NewPanelBuilder().Title(title).Description(says).Datasource(records).
		Height(10).Span(24).
		ShowTime(true).ShowLabels(false).ShowCommonLabels(false).ShowLogContextToggle(false).
		WrapLogMessage(true).PrettifyLogMessage(false).EnableLogDetails(true).
		SortOrder(common.LogsSortOrderDescending).DedupStrategy(common.LogsDedupStrategyNone).
		Targets(letter([]query{value}))
}

// mark draws a line through all curves where something happened.
func mark(name, color, expression string) *dashboard.AnnotationQueryBuilder {
	return dashboard.NewAnnotationQueryBuilder().Name(name).Datasource(records).
		Enable(true).Hide(false).IconColor(color).
		Target(found(expression).RefId("Anno"))
}
