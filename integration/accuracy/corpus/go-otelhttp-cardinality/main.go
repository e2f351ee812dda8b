// A web service whose handler is wrapped for metrics; a collector reads the metrics
// every few seconds.
//
// The pinned otelhttp records the client's User-Agent as a metric attribute. Each
// client program that names itself in a new way adds time series that stay for good.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

func main() {
	rate := flag.Float64("rate", 20, "requests a second")
	duration := flag.Float64("duration", 120, "seconds to run")
	safe := flag.Bool("safe", false, "all clients give the same name")
	flag.Parse()

	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello")
	})
	handler := otelhttp.NewHandler(hello, "hello", otelhttp.WithMeterProvider(provider))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(ln, handler)
	url := "http://" + ln.Addr().String() + "/"

	end := time.Now().Add(time.Duration(*duration * float64(time.Second)))
	next := time.Now()
	collect := time.Now()
	var kept metricdata.ResourceMetrics
	done := 0
	for time.Now().Before(end) {
		req, err := http.NewRequest("GET", url, nil)
		if err != nil {
			panic(err)
		}
		agent := "crawler/1.0"
		if !*safe {
			agent = fmt.Sprintf("crawler/1.0 (visit %d; +https://example.org/bot)", done)
		}
		req.Header.Set("User-Agent", agent)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		done++
		if time.Since(collect) > 15*time.Second {
			collect = time.Now()
			if err := reader.Collect(context.Background(), &kept); err != nil {
				panic(err)
			}
		}
		next = next.Add(time.Duration(float64(time.Second) / *rate))
		time.Sleep(time.Until(next))
	}
	fmt.Println("done", done)
}
