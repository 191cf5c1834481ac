package main

import (
	"flag"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ginnel/ginnel/node/local/api"
)

// prefFlag is a flag that stands for a preference. The table prefFlags makes the
// flags of up, login and set, and the rows of get.
type prefFlag struct {
	name   string
	usage  string
	fields []string // of MaskedPrefs that it sets
	isBool bool
	notUp  bool // it is a flag of set and login, and none of up
	// get returns the flag's text for preferences.
	get func(*api.Prefs) string
	// set changes preferences to what the text says.
	set func(p *api.Prefs, text string, env *flagEnv) error
	// idle is what to tell users about a flag that this version does not act on.
	// When the text satisfies idleAt, it is remembered all the same; where idleAt is
	// nil, ginneld refuses it.
	idle   string
	idleAt func(text string) bool
}

// flagEnv is what flags need to know to make sense of their text.
type flagEnv struct {
	// status returns the daemon's state with peers.
	status func() (*api.Status, error)
}

// value is the text given for a flag.
type value struct {
	text   string
	isBool bool
}

// String returns the text.
func (v *value) String() string { return v.text }

// IsBoolFlag makes the flag need no value.
func (v *value) IsBoolFlag() bool { return v.isBool }

// Set takes a new text; for a boolean it must be one.
func (v *value) Set(text string) error {
	if v.isBool {
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("parse error")
		}
		text = strconv.FormatBool(b)
	}
	v.text = text
	return nil
}

// addPrefFlags defines flags for preferences. Without defaults, the help shows no
// default: what is not given stays as it is.
func addPrefFlags(fs *flag.FlagSet, flags []prefFlag, defaults *api.Prefs) {
	for _, f := range flags {
		v := &value{isBool: f.isBool}
		if defaults != nil {
			v.text = f.get(defaults)
		}
		usage := f.usage
		if f.idle != "" {
			usage += "\n(" + f.idle + ")"
		}
		fs.Var(v, f.name, usage)
	}
}

// given returns the names of the flags that the user gave, in order.
func given(fs *flag.FlagSet) []string {
	var names []string
	fs.Visit(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}

// applyGiven changes p as the given flags say, and returns the flags.
func applyGiven(fs *flag.FlagSet, flags []prefFlag, p *api.Prefs, env *flagEnv) ([]prefFlag, error) {
	names := given(fs)
	var applied []prefFlag
	for _, f := range flags {
		if !slices.Contains(names, f.name) {
			continue
		}
		if err := f.set(p, fs.Lookup(f.name).Value.String(), env); err != nil {
			return nil, err
		}
		applied = append(applied, f)
	}
	return applied, nil
}

// mask returns an edit to p of the fields of the flags.
func mask(p *api.Prefs, flags []prefFlag) *api.MaskedPrefs {
	m := &api.MaskedPrefs{Prefs: *p.Clone()}
	v := reflect.ValueOf(m).Elem()
	for _, f := range flags {
		for _, field := range f.fields {
			v.FieldByName(field + "Set").SetBool(true)
		}
	}
	return m
}

// warnIdle tells the user which of the flags are only remembered.
func (a *app) warnIdle(flags []prefFlag, p *api.Prefs) {
	for _, f := range flags {
		if text := f.get(p); f.idleAt != nil && f.idleAt(text) {
			fmt.Fprintf(a.stderr, "Warning: --%s=%s is saved, but %s.\n", f.name, shellQuote(text), f.idle)
		}
	}
}

// boolPref is a flag for a boolean preference.
func boolPref(name, usage, field string, ptr func(*api.Prefs) *bool) prefFlag {
	return prefFlag{
		name: name, usage: usage, fields: []string{field}, isBool: true,
		get: func(p *api.Prefs) string { return strconv.FormatBool(*ptr(p)) },
		set: func(p *api.Prefs, text string, _ *flagEnv) error {
			*ptr(p) = text == "true"
			return nil
		},
	}
}

// textPref is a flag for a text that is kept as it is.
func textPref(name, usage, field string, ptr func(*api.Prefs) *string) prefFlag {
	return prefFlag{
		name: name, usage: usage, fields: []string{field},
		get: func(p *api.Prefs) string { return *ptr(p) },
		set: func(p *api.Prefs, text string, _ *flagEnv) error {
			*ptr(p) = text
			return nil
		},
	}
}

// only has the flag refuse what check refuses.
func (f prefFlag) only(check func(text string) error) prefFlag {
	set := f.set
	f.set = func(p *api.Prefs, text string, env *flagEnv) error {
		if err := check(text); err != nil {
			return err
		}
		return set(p, text, env)
	}
	return f
}

// validHostname fails for what cannot be a node's name: it is made of DNS labels. Empty is
// the name that the system has.
func validHostname(name string) error {
	if name == "" {
		return nil
	}
	if len(name) > 253 {
		return fmt.Errorf("--hostname: %d characters are too long for a name; at most 253 are allowed", len(name))
	}
	for label := range strings.SplitSeq(strings.Trim(name, "."), ".") {
		switch {
		case len(label) > 63:
			return fmt.Errorf("--hostname: %q is too long for a name; at most 63 characters are allowed", label)
		case !hostLabel.MatchString(label):
			return fmt.Errorf("--hostname: %q is not a valid DNS label: use letters a to z, digits and dashes, with no dash at either end", label)
		}
	}
	return nil
}

// hostLabel is one part of a host name.
var hostLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)

// butIdle adds the note that a preference is only remembered.
func (f prefFlag) butIdle(note string, at func(string) bool) prefFlag {
	f.idle, f.idleAt = note, at
	return f
}

// refused adds the note that ginneld does not take it yet.
func (f prefFlag) refused() prefFlag {
	f.idle = "not supported by this version yet"
	return f
}
