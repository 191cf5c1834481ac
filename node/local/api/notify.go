package api

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// NotifyMask says what a watcher of the notification bus wants (wire document cli,
// section 5.3).
type NotifyMask uint64

// The mask bits. The Initial ones put the present value into the first message.
const (
	NotifyEngineUpdates            NotifyMask = 1 << 0
	NotifyInitialState             NotifyMask = 1 << 1 // SessionID, State, BrowseToURL
	NotifyInitialPrefs             NotifyMask = 1 << 2
	NotifyInitialNetMap            NotifyMask = 1 << 3 // legacy
	NotifyNoPrivateKeys            NotifyMask = 1 << 4 // no effect: keys are never sent
	NotifyInitialDriveShares       NotifyMask = 1 << 5
	NotifyInitialOutgoingFiles     NotifyMask = 1 << 6
	NotifyInitialHealthState       NotifyMask = 1 << 7
	NotifyRateLimit                NotifyMask = 1 << 8 // merge bursts
	NotifyHealthActions            NotifyMask = 1 << 9
	NotifyInitialSuggestedExitNode NotifyMask = 1 << 10
	NotifyInitialClientVersion     NotifyMask = 1 << 11
	NotifyPeerChanges              NotifyMask = 1 << 12
	NotifyNoNetMap                 NotifyMask = 1 << 13
	NotifyInitialStatus            NotifyMask = 1 << 14
	NotifyPeerPatches              NotifyMask = 1 << 15 // implies NotifyPeerChanges
	NotifyInProcess                NotifyMask = 1 << 16 // refused over the API
	NotifySysPolicyChanges         NotifyMask = 1 << 17
	NotifyPeerWireGuardState       NotifyMask = 1 << 18
)

// notRateLimited are the bits that NotifyRateLimit cannot go with, since merging
// would lose what they ask for.
const notRateLimited = NotifyPeerChanges | NotifyNoNetMap | NotifyInitialStatus | NotifyPeerPatches

// ParseNotifyMask reads a decimal mask and checks it; the empty string is zero.
func ParseNotifyMask(text string) (NotifyMask, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("notification mask %.32q is not a number", text)
	}
	return NotifyMask(n), NotifyMask(n).Check()
}

// Check fails for masks refused over the API: with the in-process bit, or with
// NotifyRateLimit together with a bit it would spoil.
func (m NotifyMask) Check() error {
	if m&NotifyInProcess != 0 {
		return errors.New("notification mask has the in-process bit")
	}
	if m&NotifyRateLimit != 0 && m&notRateLimited != 0 {
		return errors.New("notification mask combines the rate limit with updates that cannot be merged")
	}
	return nil
}

// Has reports whether all of the given bits are set.
func (m NotifyMask) Has(bits NotifyMask) bool { return m&bits == bits }

// Empty is the value of a field that says only that something happened.
type Empty struct{}

// Notify is one message of the notification bus. A nil or zero field means
// unchanged.
type Notify struct {
	Version   string `json:",omitempty"`
	SessionID string `json:",omitempty"`
	// ErrMessage is an error to show, LoginFinished the end of a login.
	ErrMessage    *string `json:",omitempty"`
	LoginFinished *Empty  `json:",omitempty"`
	State         *State  `json:",omitempty"`
	Prefs         *Prefs  `json:",omitempty"`

	SelfChange    *control.Node      `json:",omitempty"`
	InitialStatus *Status            `json:",omitempty"`
	NetMap        control.RawMessage `json:",omitempty"` // legacy

	PeerChangedPatch []*control.PeerChange                  `json:",omitempty"`
	PeersChanged     []*control.Node                        `json:",omitempty"`
	PeersRemoved     []control.NodeID                       `json:",omitempty"`
	UserProfiles     map[control.UserID]control.UserProfile `json:",omitempty"`
	PeerState        map[control.StableNodeID]PeerState     `json:",omitempty"`

	Engine      *EngineStatus `json:",omitempty"`
	BrowseToURL *string       `json:",omitempty"`

	FilesWaiting  *Empty         `json:",omitempty"`
	IncomingFiles []IncomingFile `json:",omitzero"`
	OutgoingFiles []OutgoingFile `json:",omitempty"`
	LocalTCPPort  *uint16        `json:",omitempty"`

	ClientVersion     *control.ClientVersion `json:",omitempty"`
	DriveShares       []DriveShare           `json:",omitzero"`
	Health            *HealthState           `json:",omitempty"`
	SuggestedExitNode *control.StableNodeID  `json:",omitempty"`
	Policy            control.RawMessage     `json:",omitempty"`
}

// PeerState is how far the WireGuard session with a peer is.
type PeerState string

// The peer states.
const (
	PeerStateNone        PeerState = "none"
	PeerStateHandshake   PeerState = "handshake"
	PeerStateEstablished PeerState = "established"
	PeerStateExpired     PeerState = "expired"
)

// EngineStatus is the traffic of the data plane since it started, in bytes.
type EngineStatus struct {
	RBytes, WBytes int64
	// NumLive counts peers, LiveDERPs relay connections.
	NumLive   int
	LiveDERPs int
	LivePeers map[key.NodePublic]LivePeer
}

// LivePeer is the traffic of one peer, in bytes.
type LivePeer struct {
	NodeKey       key.NodePublic
	TxBytes       int64
	RxBytes       int64
	LastHandshake time.Time
}

// IncomingFile is a file being received. Sizes are in bytes; DeclaredSize is -1
// for unknown.
type IncomingFile struct {
	Name         string
	Started      time.Time
	DeclaredSize int64
	Received     int64
	PartialPath  string `json:",omitempty"`
	FinalPath    string `json:",omitempty"`
	Done         bool   `json:",omitempty"`
}

// OutgoingFile is a file being sent. Sizes are in bytes; DeclaredSize is -1 for
// unknown.
type OutgoingFile struct {
	ID           string
	PeerID       control.StableNodeID
	Name         string
	Started      time.Time
	DeclaredSize int64
	Sent         int64
	Finished     bool
	Succeeded    bool
}
