package control

import (
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// SSHPolicy says who may sign in over the built-in SSH server (section 6.10). The
// first matching rule wins; no rules deny all.
type SSHPolicy struct {
	Rules []SSHRule `json:"rules"`
}

// SSHRule matches when it has not expired, any of its principals matches and,
// unless it rejects, SSHUsers maps the requested user.
type SSHRule struct {
	// RuleExpires is zero for never.
	RuleExpires time.Time      `json:"ruleExpires,omitzero"`
	Principals  []SSHPrincipal `json:"principals"`
	// SSHUsers maps the requested user, or "*", to a local user; "=" is the same
	// name but never root, and the empty string is no match.
	SSHUsers map[string]string `json:"sshUsers"`
	Action   *SSHAction        `json:"action"`
	// AcceptEnv are names of environment variables, with "*" and "?".
	AcceptEnv []string `json:"acceptEnv,omitempty"`
}

// SSHPrincipal matches a connection when any of its members does.
type SSHPrincipal struct {
	Node      StableNodeID `json:"node,omitempty"`
	NodeIP    string       `json:"nodeIP,omitempty"`
	UserLogin string       `json:"userLogin,omitempty"`
	Any       bool         `json:"any,omitempty"`
}

// SSHAction is what happens to a connection.
type SSHAction struct {
	Message string `json:"message,omitempty"`
	Reject  bool   `json:"reject,omitempty"`
	Accept  bool   `json:"accept,omitempty"`
	// SessionDuration ends the session after that long; zero never does. Its JSON
	// is in nanoseconds.
	SessionDuration      time.Duration `json:"sessionDuration,omitempty"`
	AllowAgentForwarding bool          `json:"allowAgentForwarding,omitempty"`
	// HoldAndDelegate is the URL to ask, inside Noise, for the action to take
	// instead; it may hold the variables of section 6.10.
	HoldAndDelegate           string           `json:"holdAndDelegate,omitempty"`
	AllowLocalPortForwarding  bool             `json:"allowLocalPortForwarding,omitempty"`
	AllowRemotePortForwarding bool             `json:"allowRemotePortForwarding,omitempty"`
	Recorders                 []netip.AddrPort `json:"recorders,omitempty"`
	// OnRecordingFailure nil goes on without a recording.
	OnRecordingFailure *SSHRecorderFailureAction `json:"onRecordingFailure,omitempty"`
}

// SSHRecorderFailureAction is what happens when no recorder can be used.
type SSHRecorderFailureAction struct {
	RejectSessionWithMessage    string `json:",omitempty"`
	TerminateSessionWithMessage string `json:",omitempty"`
	// NotifyURL is where to POST an SSHEventNotifyRequest inside Noise.
	NotifyURL string `json:",omitempty"`
}

// SSHEventType is what became of a session whose recording failed.
type SSHEventType int

// The SSH event types.
const (
	SSHEventUnspecified SSHEventType = 0
	SSHEventRejected    SSHEventType = 1
	SSHEventTerminated  SSHEventType = 2
	SSHEventFailed      SSHEventType = 3
)

// SSHEventNotifyRequest tells the server that a recording failed. The answer is
// status 201.
type SSHEventNotifyRequest struct {
	EventType         SSHEventType
	ConnectionID      string
	CapVersion        CapabilityVersion
	NodeKey           key.NodePublic
	SrcNode           NodeID
	SSHUser           string
	LocalUser         string
	RecordingAttempts []SSHRecordingAttempt
}

// SSHRecordingAttempt is a recorder that was tried and why it failed.
type SSHRecordingAttempt struct {
	Recorder       netip.AddrPort
	FailureMessage string
}
