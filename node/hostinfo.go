package node

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// osNames maps Go's names of systems to the wire's where they differ.
var osNames = map[string]string{"darwin": "macOS", "ios": "iOS"}

// hostFacts is what does not change about the host while the daemon runs.
type hostFacts struct {
	hostname  string // first label of the host's name
	osVersion string
	distro    map[string]string // of os-release
	container bool
	logID     string
}

// learnHost looks at the host once.
func learnHost(machine key.MachinePublic) hostFacts {
	f := hostFacts{logID: backendLogID(machine), osVersion: osVersion()}
	if name, err := os.Hostname(); err == nil {
		f.hostname, _, _ = strings.Cut(name, ".")
	}
	if text, err := os.ReadFile("/etc/os-release"); err == nil {
		f.distro = parseOSRelease(string(text))
	}
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(mark); err == nil {
			f.container = true
		}
	}
	return f
}

// backendLogID is the identifier that servers insist on. Nothing is ever logged
// under it; it is a stable, meaningless number.
func backendLogID(machine key.MachinePublic) string {
	sum := sha256.Sum256(machine.AppendTo([]byte("ginnel backend log id\x00")))
	return hex.EncodeToString(sum[:])
}

// parseOSRelease reads the KEY=value lines of os-release.
func parseOSRelease(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(name, "#") {
			out[name] = strings.Trim(value, `"'`)
		}
	}
	return out
}

// hostinfo describes the node to the server.
func (f hostFacts) hostinfo(version string, prefs *api.Prefs, netInfo *control.NetInfo, userspace bool) *control.Hostinfo {
	name, ok := osNames[runtime.GOOS]
	if !ok {
		name = runtime.GOOS
	}
	h := &control.Hostinfo{
		IPNVersion: version, BackendLogID: f.logID, OS: name, OSVersion: f.osVersion,
		Distro: f.distro["ID"], DistroVersion: f.distro["VERSION_ID"], DistroCodeName: f.distro["VERSION_CODENAME"],
		Container: control.OptBoolOf(f.container), Hostname: f.hostname,
		Machine: runtime.GOARCH, GoArch: runtime.GOARCH, GoVersion: runtime.Version(),
		NetInfo: netInfo, Userspace: control.OptBoolOf(userspace), UserspaceRouter: control.OptBoolOf(userspace),
		NoLogsNoSupport: true,
	}
	if prefs.Hostname != "" {
		h.Hostname = prefs.Hostname
	}
	h.ShieldsUp = prefs.ShieldsUp
	h.RequestTags = slices.Compact(slices.Sorted(slices.Values(prefs.AdvertiseTags)))
	return h
}
