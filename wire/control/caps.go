package control

import (
	"encoding/json"
	"fmt"
	"slices"
)

// NodeCapability is a key of a node's CapMap: something the node may do or should
// do (section 9.1).
type NodeCapability string

// PeerCapability is a key of a grant's CapMap: something a peer may do to a node
// (section 9.2).
type PeerCapability string

// NodeCapMap maps a capability to its values. The presence of the key is what
// counts; nil values are written null.
type NodeCapMap map[NodeCapability][]RawMessage

// PeerCapMap maps a capability to its values. The presence of the key is what
// counts; nil values are written null.
type PeerCapMap map[PeerCapability][]RawMessage

// Has reports whether the capability is present, with or without values.
func (m NodeCapMap) Has(c NodeCapability) bool { _, ok := m[c]; return ok }

// Has reports whether the capability is present, with or without values.
func (m PeerCapMap) Has(c PeerCapability) bool { _, ok := m[c]; return ok }

// Clone returns a deep copy, nil for nil.
func (m NodeCapMap) Clone() NodeCapMap { return cloneCapMap(m) }

// Clone returns a deep copy, nil for nil.
func (m PeerCapMap) Clone() PeerCapMap { return cloneCapMap(m) }

// cloneCapMap returns a deep copy, nil for nil.
func cloneCapMap[M ~map[K][]RawMessage, K comparable](m M) M {
	if m == nil {
		return nil
	}
	out := make(M, len(m))
	for c, values := range m {
		values = slices.Clone(values)
		for i, v := range values {
			values[i] = slices.Clone(v)
		}
		out[c] = values
	}
	return out
}

// CapValues decodes the values of capability c in a NodeCapMap or PeerCapMap. It
// returns nil when there are none and fails when one is not a T.
func CapValues[T any, M ~map[K][]RawMessage, K ~string](m M, c K) ([]T, error) {
	values := m[c]
	if len(values) == 0 {
		return nil, nil
	}
	out := make([]T, len(values))
	for i, v := range values {
		if err := json.Unmarshal(v, &out[i]); err != nil {
			return nil, fmt.Errorf("capability %q, value %d: %w", string(c), i, err)
		}
	}
	return out, nil
}

// capURL starts the older capability names.
const capURL = "https://tailscale.com/cap/"

// Node capabilities. Presence switches on; a value is only where stated.
const (
	CapAdmin            NodeCapability = capURL + "is-admin"
	CapOwner            NodeCapability = capURL + "is-owner"
	CapSSH              NodeCapability = capURL + "ssh" // required for the SSH server
	CapSSHRuleIn        NodeCapability = capURL + "ssh-rule-in"
	CapFileSharing      NodeCapability = capURL + "file-sharing"
	CapHTTPS            NodeCapability = "https"
	CapFunnel           NodeCapability = "funnel"                // with CapHTTPS
	CapFunnelPorts      NodeCapability = capURL + "funnel-ports" // "?ports=443,8080-8090" follows in the key
	CapTailnetLock      NodeCapability = capURL + "tailnet-lock"
	CapDataPlaneAudit   NodeCapability = capURL + "data-plane-audit-logs"
	CapDebug            NodeCapability = capURL + "debug"
	AttrLogExitFlows    NodeCapability = "log-exit-flows"
	AttrSuggestExitUI   NodeCapability = "suggest-exit-node-ui"
	AttrSuggestExitNode NodeCapability = "suggest-exit-node" // read on peers
	AttrAutoExitNode    NodeCapability = "auto-exit-node"
	AttrTrafficSteering NodeCapability = "traffic-steering"
	AttrClientReach     NodeCapability = "client-side-reachability"
	AttrDriveShare      NodeCapability = "drive:share"
	AttrDriveAccess     NodeCapability = "drive:access"

	AttrDefaultAutoUpdate  NodeCapability = "default-auto-update"          // one boolean
	AttrTailnetDisplayName NodeCapability = "tailnet-display-name"         // one string
	AttrMaxKeyDuration     NodeCapability = "tailnet.maxKeyDuration"       // one number of seconds
	AttrServiceHost        NodeCapability = "service-host"                 // one map of service name to addresses
	AttrServicesPrefix     NodeCapability = "services/"                    // starts keys with one ServiceDetails
	AttrAppConnectors      NodeCapability = "tailscale.com/app-connectors" // AppConnectorAttr values
	AttrStoreAppRoutes     NodeCapability = "store-appc-routes"

	AttrMagicDNSAAAA       NodeCapability = "magicdns-aaaa"
	AttrDNSSubdomain       NodeCapability = "dns-subdomain-resolve" // also read on peers
	AttrOnlyTCP443         NodeCapability = "only-tcp-443"
	AttrRandomizePort      NodeCapability = "randomize-client-port"
	AttrDisableUPnP        NodeCapability = "debug-disable-upnp"
	AttrAlwaysSTUN         NodeCapability = "debug-always-stun"
	AttrNoWireGuardTrim    NodeCapability = "debug-no-wg-trim"
	AttrSilentDisco        NodeCapability = "silent-disco"
	AttrProbeUDPLifetime   NodeCapability = "probe-udp-lifetime"
	AttrPeerMTU            NodeCapability = "peer-mtu-enable"
	AttrOneCGNATOn         NodeCapability = "one-cgnat?v=true"
	AttrOneCGNATOff        NodeCapability = "one-cgnat?v=false"
	AttrNetfilterIPTables  NodeCapability = "linux-netfilter?v=iptables"
	AttrNetfilterNFTables  NodeCapability = "linux-netfilter?v=nftables"
	AttrNoCGNATDropRule    NodeCapability = "disable-linux-cgnat-drop-rule"
	AttrDisableDelta       NodeCapability = "disable-delta-updates"
	AttrDisableRelayServer NodeCapability = "disable-relay-server"
	AttrDisableRelayClient NodeCapability = "disable-relay-client"
	AttrSSHEnvVars         NodeCapability = "ssh-env-vars"
	AttrDisableWebClient   NodeCapability = "disable-web-client"
	AttrDisableCaptive     NodeCapability = "disable-captive-portal-detection"
	AttrUserDialRoutes     NodeCapability = "user-dial-routes"
	AttrNoForwardTCPRetry  NodeCapability = "dns-forwarder-disable-tcp-retries"
	AttrNoSplitDNS         NodeCapability = "disable-split-dns-when-no-custom-resolvers"
	AttrCacheMaps          NodeCapability = "cache-network-maps"
	AttrDisableCacheMaps   NodeCapability = "disable-cache-network-maps" // wins over AttrCacheMaps
	AttrDisableUDPGRO      NodeCapability = "disable-udp-gro"
	AttrDisableUDPGSO      NodeCapability = "disable-udp-gso"
	AttrDisableTUNUDPGRO   NodeCapability = "disable-tun-udp-gro"
	AttrDisableTUNTCPGRO   NodeCapability = "disable-tun-tcp-gro"
	AttrNeverGSOEqualTail  NodeCapability = "never-gso-equal-tail"
	AttrRuntimeMetrics     NodeCapability = "emit-runtime-metrics"

	// AttrDisableIPv4 takes a node's IPv4 address away. Servers read it in the
	// policy; nodes do not.
	AttrDisableIPv4 NodeCapability = "disable-ipv4"
)

// Peer capabilities: what the sources of a grant may do.
const (
	// PeerCapFileSharingTarget, with the peer as the source, lets the node itself
	// send files to that peer.
	PeerCapFileSharingTarget PeerCapability = capURL + "file-sharing-target"
	// PeerCapFileSend lets the source send files to the node across users.
	PeerCapFileSend    PeerCapability = capURL + "file-send"
	PeerCapDebug       PeerCapability = capURL + "debug-peer"
	PeerCapWakeOnLAN   PeerCapability = capURL + "wake-on-lan"
	PeerCapIngress     PeerCapability = capURL + "ingress"
	PeerCapWebUI       PeerCapability = "tailscale.com/cap/webui"
	PeerCapDrive       PeerCapability = "tailscale.com/cap/drive"
	PeerCapDriveSharer PeerCapability = "tailscale.com/cap/drive-sharer"
	// PeerCapRelay lets the source allocate on the node's relay, and
	// PeerCapRelayTarget the node itself on the source's.
	PeerCapRelay       PeerCapability = "tailscale.com/cap/relay"
	PeerCapRelayTarget PeerCapability = "tailscale.com/cap/relay-target"
	PeerCapKubernetes  PeerCapability = "tailscale.com/cap/kubernetes"
)
