package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
)

// metricsInterval is the time between two looks at the metrics.
const metricsInterval = time.Second

// debugMetricsCommand shows internal metrics, once or as they change.
func (a *app) debugMetricsCommand() *ffcli.Command {
	fs := newFlags("metrics")
	watch := fs.Bool("watch", false, "print what changes, each second, as a JSON object of differences in a line")
	return &ffcli.Command{
		Name: "metrics", ShortUsage: "ginnel debug metrics [--watch]", ShortHelp: "Show internal metrics", FlagSet: fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			text, err := a.local().Get(ctx, "metrics")
			switch {
			case err != nil:
				return err
			case *watch:
				return a.watchMetrics(ctx, parseMetrics(text))
			}
			return a.print("%s", text)
		},
	}
}

// watchMetrics prints how the metrics differ from what they were, again and again.
func (a *app) watchMetrics(ctx context.Context, before map[string]float64) error {
	for {
		if err := a.rest(ctx, metricsInterval); err != nil {
			return err
		}
		text, err := a.local().Get(ctx, "metrics")
		if err != nil {
			return err
		}
		now := parseMetrics(text)
		changed := map[string]float64{}
		for name, value := range now {
			if value != before[name] {
				changed[name] = value - before[name]
			}
		}
		before = now
		if len(changed) == 0 {
			continue
		}
		line, err := json.Marshal(changed)
		if err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		if err := a.print("%s\n", line); err != nil {
			return err
		}
	}
}

// parseMetrics reads values by name and labels from Prometheus text. What is no number
// is left out.
func parseMetrics(text []byte) map[string]float64 {
	values := map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		end := strings.LastIndexByte(line, ' ')
		if end < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		value, err := strconv.ParseFloat(line[end+1:], 64)
		if err == nil && value-value == 0 { // finite
			values[line[:end]] = value
		}
	}
	return values
}
