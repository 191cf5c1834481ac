package api

import (
	"net/netip"
	"reflect"
	"slices"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Prefs are the preferences of a profile (wire document node, section 1.4), in the
// order and presence of the wire document cli, section 6.1.
type Prefs struct {
	// ControlURL is the server's base URL, empty for the default.
	ControlURL string
	// RouteAll accepts the subnet routes of peers.
	RouteAll bool
	// ExitNodeID is the exit node in use, ExitNodeIP its old form, and
	// AutoExitNode "any" to let the daemon choose.
	ExitNodeID            control.StableNodeID
	ExitNodeIP            netip.Addr
	AutoExitNode          string               `json:",omitempty"`
	InternalExitNodePrior control.StableNodeID // the daemon's own
	// ExitNodeAllowLANAccess keeps the local network direct.
	ExitNodeAllowLANAccess bool
	// CorpDNS lets the daemon set the host's DNS.
	CorpDNS      bool
	RunSSH       bool
	RunWebClient bool
	WantRunning  bool
	LoggedOut    bool
	// ShieldsUp drops all new inbound flows.
	ShieldsUp bool
	// AdvertiseTags are the tags to ask for.
	AdvertiseTags []string
	// Hostname is empty for the host's own.
	Hostname    string
	NotepadURLs bool
	ForceDaemon bool `json:",omitempty"`
	Egg         bool `json:",omitempty"`
	// AdvertiseRoutes are the routes to offer; both default routes make an exit
	// node.
	AdvertiseRoutes []netip.Prefix
	// AdvertiseServices are names starting "svc:".
	AdvertiseServices []string
	// Sync is whether to poll the server at all, unset for yes.
	Sync control.OptBool
	// NoSNAT and NoStatefulFiltering turn those off (Linux).
	NoSNAT              bool
	NoStatefulFiltering control.OptBool
	NetfilterMode       NetfilterMode
	// OperatorUser is the Unix user who may change things.
	OperatorUser string `json:",omitempty"`
	// ProfileName is the name the user gave the profile.
	ProfileName     string `json:",omitempty"`
	AutoUpdate      AutoUpdatePrefs
	AppConnector    AppConnectorPrefs
	PostureChecking bool
	// NetfilterKind is "iptables", "nftables" or empty for the better one.
	NetfilterKind string
	RemoteConfig  bool
	DriveShares   []DriveShare
	// RelayServerPort is the UDP port to relay for peers on, zero for any and nil
	// for off.
	RelayServerPort            *uint16          `json:",omitempty"`
	RelayServerStaticEndpoints []netip.AddrPort `json:",omitempty"`
	// Config is the identity of the profile; over the API without its secrets.
	Config *Persist `json:",omitempty"`
}

// NetfilterMode is how much of the host's packet filter the daemon manages
// (Linux).
type NetfilterMode int

// The netfilter modes.
const (
	NetfilterOff      NetfilterMode = 0
	NetfilterNoDivert NetfilterMode = 1 // make the chains but do not jump to them
	NetfilterOn       NetfilterMode = 2
)

// String returns the mode as the command line spells it.
func (m NetfilterMode) String() string {
	switch m {
	case NetfilterOff:
		return "off"
	case NetfilterNoDivert:
		return "nodivert"
	case NetfilterOn:
		return "on"
	}
	return "unknown"
}

// AutoUpdatePrefs are what to do about new releases.
type AutoUpdatePrefs struct {
	Check bool
	Apply control.OptBool
}

// AppConnectorPrefs are whether to offer to be an app connector.
type AppConnectorPrefs struct {
	Advertise bool
}

// DriveShare is a shared folder.
type DriveShare struct {
	Name string `json:"name"`
	Path string `json:"path,omitempty"`
	As   string `json:"who,omitempty"` // the local user it is served as
}

// Persist is the identity stored with a profile. Its JSON holds the private keys
// that are set: use Public before it leaves the daemon.
type Persist struct {
	PrivateNodeKey        key.NodePrivate `json:",omitzero"`
	UserProfile           control.UserProfile
	NetworkLockKey        key.LockPrivate `json:",omitzero"`
	NodeID                control.StableNodeID
	AttestationKey        control.RawMessage `json:",omitempty"` // secret
	DisallowedTKAStateIDs []string           `json:",omitempty"`
}

// Public returns a copy without secrets, nil for nil.
func (p *Persist) Public() *Persist {
	if p == nil {
		return nil
	}
	c := p.Clone()
	c.PrivateNodeKey = key.NodePrivate{}
	c.NetworkLockKey = key.LockPrivate{}
	c.AttestationKey = nil
	return c
}

// Clone returns a deep copy, secrets included, nil for nil.
func (p *Persist) Clone() *Persist {
	if p == nil {
		return nil
	}
	c := *p
	c.UserProfile.Groups = slices.Clone(p.UserProfile.Groups)
	c.AttestationKey = slices.Clone(p.AttestationKey)
	c.DisallowedTKAStateIDs = slices.Clone(p.DisallowedTKAStateIDs)
	return &c
}

// NewPrefs returns the preferences of a blank profile: logged out, not wanted
// running, everything else at its default for Linux.
func NewPrefs() *Prefs {
	return &Prefs{
		CorpDNS:             true,
		LoggedOut:           true,
		NoStatefulFiltering: control.True,
		NetfilterMode:       NetfilterOn,
		AutoUpdate:          AutoUpdatePrefs{Check: true},
	}
}

// Clone returns a deep copy, secrets included, nil for nil.
func (p *Prefs) Clone() *Prefs {
	if p == nil {
		return nil
	}
	c := *p
	c.AdvertiseTags = slices.Clone(p.AdvertiseTags)
	c.AdvertiseRoutes = slices.Clone(p.AdvertiseRoutes)
	c.AdvertiseServices = slices.Clone(p.AdvertiseServices)
	c.DriveShares = slices.Clone(p.DriveShares)
	if p.RelayServerPort != nil {
		port := *p.RelayServerPort
		c.RelayServerPort = &port
	}
	c.RelayServerStaticEndpoints = slices.Clone(p.RelayServerStaticEndpoints)
	c.Config = p.Config.Clone()
	return &c
}

// Public returns a deep copy without secrets, fit to leave the daemon, nil for
// nil.
func (p *Prefs) Public() *Prefs {
	c := p.Clone()
	if c != nil {
		c.Config = c.Config.Public()
	}
	return c
}

// Equal reports whether two values say the same, nil and empty lists being
// different; nil equals only nil.
func (p *Prefs) Equal(other *Prefs) bool { return reflect.DeepEqual(p, other) }

// AdvertisesExitNode reports whether both default routes are offered.
func (p *Prefs) AdvertisesExitNode() bool {
	return slices.Contains(p.AdvertiseRoutes, netip.PrefixFrom(netip.IPv4Unspecified(), 0)) &&
		slices.Contains(p.AdvertiseRoutes, netip.PrefixFrom(netip.IPv6Unspecified(), 0))
}

// SyncEnabled reports whether to poll the server; unset is yes.
func (p *Prefs) SyncEnabled() bool { return p.Sync.OrElse(true) }
