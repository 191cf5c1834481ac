package api

import (
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// WarnableCode names a kind of health warning (wire document node, section 1.9).
type WarnableCode string

// The health warnings of the daemon.
const (
	WarnWarmingUp          WarnableCode = "warming-up" // every other depends on it
	WarnWantRunningFalse   WarnableCode = "wantrunning-false"
	WarnLoginState         WarnableCode = "login-state"
	WarnNetworkStatus      WarnableCode = "network-status"
	WarnNotInMapPoll       WarnableCode = "not-in-map-poll"
	WarnMapResponseTimeout WarnableCode = "mapresponse-timeout"
	WarnNoDERPHome         WarnableCode = "no-derp-home"
	WarnNoDERPConnection   WarnableCode = "no-derp-connection"
	WarnDERPTimedOut       WarnableCode = "derp-timed-out"
	WarnDERPRegionError    WarnableCode = "derp-region-error"
	WarnNoUDP4Bind         WarnableCode = "no-udp4-bind"
	WarnTLSConnection      WarnableCode = "tls-connection-failed"
	WarnReceiveFunc        WarnableCode = "magicsock-receive-func-error"
	WarnIPForwardingOff    WarnableCode = "ip-forwarding-off"
	WarnInvalidFilter      WarnableCode = "invalid-packet-filter"
	WarnUpdateAvailable    WarnableCode = "update-available"
	WarnSecurityUpdate     WarnableCode = "security-update-available"
	WarnApplyDiskConfig    WarnableCode = "apply-disk-config"
	WarnDNSForward         WarnableCode = "dns-forward-failing"
	WarnDNSReadOSConfig    WarnableCode = "dns-read-os-config-failed"
	WarnDNSSetOSConfig     WarnableCode = "dns-set-os-config-failed"
	WarnResolvConf         WarnableCode = "resolv-conf-overwritten"
	WarnStateStore         WarnableCode = "state-store-health"
	WarnNoLockStateDir     WarnableCode = "no-tailnet-lock-state-dir"
	WarnSyncDisabled       WarnableCode = "sync-disabled"
	WarnNoSNATExitNode     WarnableCode = "nosnat-with-advertised-exit-node"
	WarnDockerFiltering    WarnableCode = "docker-stateful-filtering"
	WarnCaptivePortal      WarnableCode = "captive-portal-detected"
	WarnTLSCertPending     WarnableCode = "tls-cert-pending"
)

// HealthState is all that is wrong at present.
type HealthState struct {
	Warnings map[WarnableCode]UnhealthyState
}

// UnhealthyState is one thing that is wrong.
type UnhealthyState struct {
	WarnableCode WarnableCode
	Severity     control.Severity
	Title        string
	Text         string
	// BrokenSince is nil when not known.
	BrokenSince         *time.Time                    `json:",omitempty"`
	Args                map[string]string             `json:",omitempty"`
	DependsOn           []WarnableCode                `json:",omitempty"`
	ImpactsConnectivity bool                          `json:",omitempty"`
	PrimaryAction       *control.DisplayMessageAction `json:",omitempty"`
	// ETag changes when anything above does.
	ETag string `json:",omitempty"`
}
