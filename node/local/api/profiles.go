package api

import (
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// LoginProfile is an entry of the list of profiles: one login of this machine (wire
// document node, section 1.6). The zero ID is a profile that has never logged in.
type LoginProfile struct {
	ID             string // four lower-case hex digits, or empty
	Name           string // the user's name for it, or the login name
	NetworkProfile NetworkProfile
	Key            string // of the preferences in the state file
	UserProfile    control.UserProfile
	NodeID         control.StableNodeID
	LocalUserID    string // of no use on Unix
	ControlURL     string
	Created        time.Time
}

// NetworkProfile is how the tailnet of a profile is shown.
type NetworkProfile struct {
	MagicDNSName string
	DomainName   string
	DisplayName  string `json:",omitempty"`
}

// Tailnet returns the name of the network for people: the first that is known of
// display name, domain name and DNS suffix.
func (p NetworkProfile) Tailnet() string {
	for _, name := range []string{p.DisplayName, p.DomainName, p.MagicDNSName} {
		if name != "" {
			return name
		}
	}
	return ""
}
