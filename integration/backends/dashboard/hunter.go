package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/table"
)

// Queries on the sidecars chosen at the head, and on the records of the services chosen there.
const (
	chosen = `{instance=~"$instance"}`
	stream = `{service_name=~"$service"}`
)

// hunter tells first who leaks, then what was said about it, then what targets hold, then how the sidecars do.
func hunter() *dashboard.DashboardBuilder {
	d := dashboard.NewDashboardBuilder("Memory Leak Hunter").
		Uid("memory-leak-hunter").
		Description("Who leaks memory, how fast, when it ends, and how the sidecars that look for it do.").
		Tags([]string{"memory", "leaks", "opentelemetry"}).
		Timezone("browser").Editable().Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Time("now-6h", "now").Refresh("1m").Version(1).Preload(false).
		Timepicker(dashboard.NewTimePickerBuilder())
	variables(d)
	d.Annotation(mark("Leaks found", "red", stream+` | memory_leak_hunter_event_kind="leak_detected"`)).
		Annotation(mark("OOM kills", "dark-red", stream+` | memory_leak_hunter_event_kind="oom_kill"`)).
		Annotation(mark("Modes", "blue", stream+` | memory_leak_hunter_event_kind="mode_changed"`))

	d.WithRow(dashboard.NewRowBuilder("Now"))
	figures(d)
	d.WithRow(dashboard.NewRowBuilder("Who leaks"))
	targets(d)
	d.WithRow(dashboard.NewRowBuilder("What was found"))
	findings(d)
	d.WithRow(dashboard.NewRowBuilder("Targets looked at from within"))
	looks(d)
	d.WithRow(dashboard.NewRowBuilder("The sidecars"))
	sidecars(d)
	return d
}

func variables(d *dashboard.DashboardBuilder) {
	d.WithVariable(dashboard.NewDatasourceVariableBuilder("prometheus").Label("Metrics").Type("prometheus"))
	d.WithVariable(dashboard.NewDatasourceVariableBuilder("loki").Label("Records").Type("loki"))
	d.WithVariable(dashboard.NewQueryVariableBuilder("instance").Label("Sidecar").Datasource(metrics).
		Query(dashboard.StringOrMap{String: cog.ToPtr("label_values(memory_leak_hunter_mode, instance)")}).
		Definition("label_values(memory_leak_hunter_mode, instance)").
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).IncludeAll(true).AllValue(".*").
		Current(dashboard.VariableOption{
			Text:  dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
			Value: dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
		}))
	d.WithVariable(dashboard.NewTextBoxVariableBuilder("service").Label("Service (regex)").
		DefaultValue(dashboard.StringOrMap{String: cog.ToPtr(".+")}).
		Current(dashboard.VariableOption{
			Text:  dashboard.StringOrArrayOfString{String: cog.ToPtr(".+")},
			Value: dashboard.StringOrArrayOfString{String: cog.ToPtr(".+")},
		}))
}

func figures(d *dashboard.DashboardBuilder) {
	d.WithPanel(figure("Leaks", "Verdicts that are open.", "none", "no sidecar",
		colors("green", step{1, "red"}), now(`sum(memory_leak_hunter_leaks`+chosen+`)`)))
	d.WithPanel(figure("Suspects", "What grows steadily and is being watched.", "none", "no sidecar",
		colors("green", step{1, "orange"}), now(`sum(memory_leak_hunter_suspects`+chosen+`)`)))
	d.WithPanel(figure("First out of memory", "The shortest time until a limit is reached, if growth goes on as it does.",
		"s", "none in sight", colors("red", step{3600, "orange"}, step{6 * 3600, "green"}),
		now(`min(memory_leak_hunter_time_to_oom_seconds`+chosen+`)`)))
	d.WithPanel(figure("Leaked an hour", "All leaks together.", "decbytes", "nothing", colors("blue"),
		now(`sum(memory_leak_hunter_leak_velocity_bytes_per_second`+chosen+`) * 3600`)))
	d.WithPanel(figure("Lost", "Records and metric points lost in the time shown. It should be none.", "none", "no sidecar",
		colors("green", step{1, "red"}),
		now(`sum(increase(memory_leak_hunter_dropped_events_total`+chosen+`[$__range]))`)))
	d.WithPanel(figure("Sidecars", "Those that export metrics.", "none", "none",
		colors("red", step{1, "green"}), now(`sum(memory_leak_hunter_mode`+chosen+`)`)))
}

func targets(d *dashboard.DashboardBuilder) {
	d.WithPanel(curve("Growth an hour", "Each executable of each container that leaks, the fastest twenty.", "decbytes", 12,
		over(`sum by (target_executable, target_container) (memory_leak_hunter_leak_velocity_bytes_per_second`+chosen+`) * 3600`,
			"{{target_executable}} {{target_container}}")))
	d.WithPanel(curve("Time to the limit", "Until the nearest limit of the container or the host is reached. Below an hour it is an OOM risk.", "s", 12,
		over(`min by (target_container) (memory_leak_hunter_time_to_oom_seconds`+chosen+`)`, "{{target_container}}")).
		Thresholds(colors("transparent", step{0, "red"}, step{3600, "transparent"})).
		ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed)))

	growth := now(`sort_desc(sum by (instance, target_container, target_executable) (memory_leak_hunter_leak_velocity_bytes_per_second` + chosen + `) * 3600)`)
	left := now(`min by (instance, target_container) (memory_leak_hunter_time_to_oom_seconds` + chosen + `)`)
	d.WithPanel(table.NewPanelBuilder().Title("Leaks").Description("One line for each executable of a container.").
		Datasource(metrics).Height(8).Span(24).ShowHeader(true).CellHeight(common.TableCellHeightSm).
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{"sum"})).
		Targets(letter([]query{
			growth.Format(prometheus.PromQueryFormatTable),
			left.Format(prometheus.PromQueryFormatTable),
		})).
		WithTransformation(dashboard.DataTransformerConfig{Id: "merge", Options: map[string]any{}}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
			"excludeByName": map[string]any{"Time": true},
			"indexByName": map[string]any{
				"target_executable": 0, "target_container": 1, "instance": 2, "Value #A": 3, "Value #B": 4,
			},
			"renameByName": map[string]any{
				"target_executable": "Executable", "target_container": "Container", "instance": "Sidecar",
				"Value #A": "Growth an hour", "Value #B": "Time to the limit",
			},
		}}).
		OverrideByName("Growth an hour", []dashboard.DynamicConfigValue{{Id: "unit", Value: "decbytes"}}).
		OverrideByName("Time to the limit", []dashboard.DynamicConfigValue{{Id: "unit", Value: "s"}}))
	programs(d)
}

// programs puts together what hosts and containers have in common.
func programs(d *dashboard.DashboardBuilder) {
	leaking := `memory_leak_hunter_leak_velocity_bytes_per_second` + chosen
	growth := now(`sort_desc(sum by (target_executable) (` + leaking + `) * 3600)`)
	hosts := now(`count by (target_executable) (count by (instance, target_executable) (` + leaking + `))`)
	containers := now(`count by (target_executable) (count by (target_container, target_executable) (memory_leak_hunter_leak_velocity_bytes_per_second{instance=~"$instance", target_container!=""}))`)
	d.WithPanel(table.NewPanelBuilder().Title("Programs").Description("The same program on all hosts and in all containers together.").
		Datasource(metrics).Height(8).Span(12).ShowHeader(true).CellHeight(common.TableCellHeightSm).
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{"sum"})).
		Targets(letter([]query{
			growth.Format(prometheus.PromQueryFormatTable),
			hosts.Format(prometheus.PromQueryFormatTable),
			containers.Format(prometheus.PromQueryFormatTable),
		})).
		WithTransformation(dashboard.DataTransformerConfig{Id: "merge", Options: map[string]any{}}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
			"excludeByName": map[string]any{"Time": true},
			"indexByName": map[string]any{
				"target_executable": 0, "Value #A": 1, "Value #B": 2, "Value #C": 3,
			},
			"renameByName": map[string]any{
				"target_executable": "Executable", "Value #A": "Growth an hour", "Value #B": "Hosts", "Value #C": "Containers",
			},
		}}).
		OverrideByName("Growth an hour", []dashboard.DynamicConfigValue{{Id: "unit", Value: "decbytes"}}))
	d.WithPanel(curve("Leaks that return", "Verdicts in an hour on leaks that another process or container of the host had before, or has as well.", "none", 12,
		over(`sum by (instance) (increase(memory_leak_hunter_leaks_recurred_total`+chosen+`[1h]))`, "{{instance}}")))
}

func findings(d *dashboard.DashboardBuilder) {
	counted := found(`sum by (memory_leak_hunter_event_kind) (count_over_time(` + stream +
		` | memory_leak_hunter_event_kind!="" [$__auto]))`).LegendFormat("{{memory_leak_hunter_event_kind}}")
	d.WithPanel(curve("Records by kind", "Every record carries its kind.", "none", 24, counted).Datasource(records).
		DrawStyle(common.GraphDrawStyleBars).FillOpacity(80).
		Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A")))
	d.WithPanel(curve("Verdicts by leak", "A leak has the same id on every host and after every restart.", "none", 24,
		found(`sum by (service_name, memory_leak_hunter_leak_id) (count_over_time(`+stream+
			` | memory_leak_hunter_event_kind="leak_detected" [$__auto]))`).
			LegendFormat("{{service_name}} {{memory_leak_hunter_leak_id}}")).Datasource(records).
		DrawStyle(common.GraphDrawStyleBars).FillOpacity(80).
		Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A")))
	d.WithPanel(lines("Verdicts, suspicions and OOM", "Everything but plain growth.",
		found(stream+` | memory_leak_hunter_event_kind=~"leak_.+|oom_.+"`).MaxLines(200)))
}

// looks tells of the targets that are looked at from within.
func looks(d *dashboard.DashboardBuilder) {
	d.WithPanel(curve("Looking at a target", "Sidecars in each of the modes that look at a target from within.", "none", 8,
		over(`sum by (mode) (memory_leak_hunter_mode{instance=~"$instance", mode!="growth_detection"})`, "{{mode}}")))
	d.WithPanel(curve("What it costs the target", "Of the target's CPU time, second by second. Within each minute it is below overhead_budget: probes come and go as that allows.", "percentunit", 8,
		over(`max by (instance) (memory_leak_hunter_overhead_ratio`+chosen+`)`, "{{instance}}")))
	d.WithPanel(curve("Kernel memory", "Of the tables by which a target is looked at.", "bytes", 8,
		over(`max by (instance) (memory_leak_hunter_kernel_memory_bytes`+chosen+`)`, "{{instance}}")))
	d.WithPanel(curve("Allocations tracked", "Zero in growth detection, which looks at no single allocation.", "cps", 8,
		over(`sum(rate(memory_leak_hunter_allocations_tracked_total`+chosen+`[$__rate_interval]))`, "allocations"),
		over(`sum(rate(memory_leak_hunter_deallocations_tracked_total`+chosen+`[$__rate_interval]))`, "deallocations")))
	d.WithPanel(curve("Allocations not freed", "Of those that are tracked.", "decbytes", 8,
		over(`sum by (target_executable, target_container) (memory_leak_hunter_unfreed_memory_bytes`+chosen+`)`, "{{target_executable}} {{target_container}}")))
	d.WithPanel(curve("Largest allocation", "Of the targets.", "decbytes", 8,
		over(`max(memory_leak_hunter_largest_allocation_bytes`+chosen+`)`, "the largest")))
	d.WithPanel(lines("Not freed, by stack", "What is older than min_unfreed_age, and when a look began and ended.",
		found(stream+` | memory_leak_hunter_event_kind=~"allocation_unfreed|mode_changed"`).MaxLines(200)))
}

func sidecars(d *dashboard.DashboardBuilder) {
	d.WithPanel(curve("One pass over the processes", "Half of the passes are quicker than the first line, ninety-nine of a hundred than the second.", "s", 8,
		over(`histogram_quantile(0.5, sum by (le) (rate(memory_leak_hunter_sweep_duration_seconds_bucket`+chosen+`[$__rate_interval])))`, "half"),
		over(`histogram_quantile(0.99, sum by (le) (rate(memory_leak_hunter_sweep_duration_seconds_bucket`+chosen+`[$__rate_interval])))`, "99 %")))
	d.WithPanel(curve("From a pass to the pipeline", "What judging the findings of a pass takes.", "ms", 8,
		over(`histogram_quantile(0.99, sum by (le) (rate(memory_leak_hunter_processing_duration_ms_bucket`+chosen+`[$__rate_interval])))`, "99 %")))
	d.WithPanel(curve("Work", "What was looked at, and what was told of it.", "cps", 8,
		over(`sum(rate(memory_leak_hunter_events_processed_total`+chosen+`[$__rate_interval]))`, "processes seen"),
		over(`sum(rate(memory_leak_hunter_rss_growth_detected_total`+chosen+`[$__rate_interval]))`, "growth found")))
	d.WithPanel(curve("Delivered", "Log records and metric points that an exporter has got rid of.", "cps", 8,
		over(`sum by (exporter, signal) (rate(memory_leak_hunter_exported_items_total`+chosen+`[$__rate_interval]))`, "{{signal}} by {{exporter}}")))
	d.WithPanel(curve("Lost", "By the stage that lost it. It should be none.", "cps", 8,
		over(`sum by (stage, signal) (rate(memory_leak_hunter_dropped_events_total`+chosen+`[$__rate_interval])) > 0`, "{{signal}} at {{stage}}")))
	d.WithPanel(curve("Failed", "By stage. It should be none.", "cps", 8,
		over(`sum by (stage) (rate(memory_leak_hunter_errors_total`+chosen+`[$__rate_interval])) > 0`, "{{stage}}")))
	d.WithPanel(curve("Fullest queue", "At one, records are lost.", "percentunit", 8,
		over(`max by (instance) (memory_leak_hunter_buffer_usage`+chosen+`)`, "{{instance}}")).Max(1))
}
