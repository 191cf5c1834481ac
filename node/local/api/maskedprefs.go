package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// MaskedPrefs is an edit of preferences: the values, and a flag for each that says
// to take it. A field without its flag is ignored whatever it holds; a flag
// without a value sets the zero value (wire document cli, section 6.1).
type MaskedPrefs struct {
	Prefs

	ControlURLSet                 bool           `json:",omitempty"`
	RouteAllSet                   bool           `json:",omitempty"`
	ExitNodeIDSet                 bool           `json:",omitempty"`
	ExitNodeIPSet                 bool           `json:",omitempty"`
	AutoExitNodeSet               bool           `json:",omitempty"`
	InternalExitNodePriorSet      bool           `json:",omitempty"`
	ExitNodeAllowLANAccessSet     bool           `json:",omitempty"`
	CorpDNSSet                    bool           `json:",omitempty"`
	RunSSHSet                     bool           `json:",omitempty"`
	RunWebClientSet               bool           `json:",omitempty"`
	WantRunningSet                bool           `json:",omitempty"`
	LoggedOutSet                  bool           `json:",omitempty"`
	ShieldsUpSet                  bool           `json:",omitempty"`
	AdvertiseTagsSet              bool           `json:",omitempty"`
	HostnameSet                   bool           `json:",omitempty"`
	NotepadURLsSet                bool           `json:",omitempty"`
	ForceDaemonSet                bool           `json:",omitempty"`
	EggSet                        bool           `json:",omitempty"`
	AdvertiseRoutesSet            bool           `json:",omitempty"`
	AdvertiseServicesSet          bool           `json:",omitempty"`
	SyncSet                       bool           `json:",omitempty"`
	NoSNATSet                     bool           `json:",omitempty"`
	NoStatefulFilteringSet        bool           `json:",omitempty"`
	NetfilterModeSet              bool           `json:",omitempty"`
	OperatorUserSet               bool           `json:",omitempty"`
	ProfileNameSet                bool           `json:",omitempty"`
	AutoUpdateSet                 AutoUpdateMask `json:",omitzero"`
	AppConnectorSet               bool           `json:",omitempty"`
	PostureCheckingSet            bool           `json:",omitempty"`
	NetfilterKindSet              bool           `json:",omitempty"`
	RemoteConfigSet               bool           `json:",omitempty"`
	DriveSharesSet                bool           `json:",omitempty"`
	RelayServerPortSet            bool           `json:",omitempty"`
	RelayServerStaticEndpointsSet bool           `json:",omitempty"`
}

// AutoUpdateMask flags the members of AutoUpdatePrefs.
type AutoUpdateMask struct {
	CheckSet bool `json:",omitempty"`
	ApplySet bool `json:",omitempty"`
}

// ApplyTo changes p as the edit says and returns the names of the fields flagged.
// Setting ExitNodeID clears AutoExitNode unless that is flagged too. It shares
// nothing with p afterwards.
func (m *MaskedPrefs) ApplyTo(p *Prefs) []string {
	edit := reflect.ValueOf(m.Prefs.Clone()).Elem()
	into := reflect.ValueOf(p).Elem()
	names := m.SetFields()
	for _, name := range names {
		if name == "AutoUpdate" {
			continue
		}
		into.FieldByName(name).Set(edit.FieldByName(name))
	}
	if m.AutoUpdateSet.CheckSet {
		p.AutoUpdate.Check = m.AutoUpdate.Check
	}
	if m.AutoUpdateSet.ApplySet {
		p.AutoUpdate.Apply = m.AutoUpdate.Apply
	}
	if m.ExitNodeIDSet && !m.AutoExitNodeSet {
		p.AutoExitNode = ""
	}
	return names
}

// SetFields returns the names of the flagged fields in the order of Prefs.
func (m *MaskedPrefs) SetFields() []string {
	var names []string
	v := reflect.ValueOf(m).Elem()
	for i := 1; i < v.NumField(); i++ { // the first field is the Prefs
		if !v.Field(i).IsZero() {
			names = append(names, strings.TrimSuffix(v.Type().Field(i).Name, "Set"))
		}
	}
	return names
}

// IsEmpty reports whether the edit changes nothing.
func (m *MaskedPrefs) IsEmpty() bool { return len(m.SetFields()) == 0 }

// TouchesInternal reports whether the edit flags a field that is the daemon's own
// and that no caller may set.
func (m *MaskedPrefs) TouchesInternal() bool { return m.InternalExitNodePriorSet }

// MarshalJSON writes the flagged fields, each with its flag after it, and nothing
// else.
func (m MaskedPrefs) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	v := reflect.ValueOf(m)
	for i, name := range m.SetFields() {
		if i > 0 {
			out.WriteByte(',')
		}
		value, err := json.Marshal(v.FieldByName(name).Interface())
		if err != nil {
			return nil, fmt.Errorf("preference %s: %w", name, err)
		}
		flag, err := json.Marshal(v.FieldByName(name + "Set").Interface())
		if err != nil {
			return nil, fmt.Errorf("preference %s: %w", name, err)
		}
		fmt.Fprintf(&out, "%q:%s,%q:%s", name, value, name+"Set", flag)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}
