// Package version says which build of Ginnel is running.
//
// The release is set by the linker; the commit comes from what the Go toolchain
// records. It compares nothing and looks for no updates.
package version

import (
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// version is set with -ldflags "-X github.com/ginnel/ginnel/internal/version.version=1.2.3".
var version string

// unset is the version of a build that nobody named.
const unset = "0.0.0-dev"

// Info is what is known of this build. Fields that are not are empty.
type Info struct {
	Short  string // such as "1.2.3"
	Commit string // full hash
	Dirty  bool   // built from changed files
	Time   time.Time
}

// Get returns what is known of this build.
func Get() Info {
	info, _ := debug.ReadBuildInfo()
	return from(version, info)
}

// from makes an Info of the linker's version and the toolchain's record, which
// may be nil.
func from(name string, build *debug.BuildInfo) Info {
	info := Info{Short: strings.TrimPrefix(name, "v")}
	if info.Short == "" || info.Short == "dev" {
		info.Short = unset
	}
	if build == nil {
		return info
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			info.Commit = s.Value
		case "vcs.modified":
			info.Dirty = s.Value == "true"
		case "vcs.time":
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				info.Time = t
			}
		}
	}
	return info
}

// Long returns the version with the start of the commit, such as
// "1.2.3-t0123456789-dirty".
func (i Info) Long() string {
	long := i.Short
	if i.Commit != "" {
		long += "-t" + i.Commit[:min(len(i.Commit), 9)]
	}
	if i.Dirty && !strings.HasSuffix(long, "-dirty") {
		long += "-dirty"
	}
	return long
}

// MajorMinorPatch returns the version's three numbers, without anything after.
func (i Info) MajorMinorPatch() string {
	numbers, _, _ := strings.Cut(i.Short, "-")
	return numbers
}

// Short returns the version of this build.
func Short() string { return Get().Short }

// Long returns the long version of this build, the same for all programs of one
// build.
func Long() string { return Get().Long() }

// Text describes this build in a few lines, the first being the short version alone.
func Text() string {
	v := Get()
	text := v.Short + "\n"
	if v.Commit != "" {
		text += "  commit: " + v.Commit + "\n"
	}
	return text + "  long version: " + v.Long() + "\n  go version: " + runtime.Version() + "\n"
}
