package version

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestFrom(t *testing.T) {
	record := &debug.BuildInfo{Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"},
		{Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "GOOS", Value: "linux"}}}
	tests := []struct {
		name                string
		build               *debug.BuildInfo
		short, long, number string
	}{
		{"", nil, "0.0.0-dev", "0.0.0-dev", "0.0.0"},
		{"dev", nil, "0.0.0-dev", "0.0.0-dev", "0.0.0"},
		{"v1.2.3", nil, "1.2.3", "1.2.3", "1.2.3"},
		{"1.2.3", record, "1.2.3", "1.2.3-t012345678-dirty", "1.2.3"},
		{"v1.2.3-4-gabc-dirty", record, "1.2.3-4-gabc-dirty", "1.2.3-4-gabc-dirty-t012345678-dirty", "1.2.3"},
	}
	for _, tt := range tests {
		got := from(tt.name, tt.build)
		if got.Short != tt.short || got.Long() != tt.long || got.MajorMinorPatch() != tt.number {
			t.Errorf("from(%q) = %q, %q, %q", tt.name, got.Short, got.Long(), got.MajorMinorPatch())
		}
	}
	if got := from("", record); got.Time != time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) {
		t.Errorf("time = %v", got.Time)
	}
	if Short() == "" || Long() == "" {
		t.Error("this build has no version")
	}
}

func TestTextStartsWithTheShortVersion(t *testing.T) {
	first, rest, _ := strings.Cut(Text(), "\n")
	if first != Short() || !strings.Contains(rest, "long version: "+Long()+"\n") || !strings.HasSuffix(rest, "go version: "+runtime.Version()+"\n") {
		t.Errorf("text %q", Text())
	}
}
