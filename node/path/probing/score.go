package probing

import (
	"net/netip"
	"time"
)

// Quality is what is known of a path.
type Quality struct {
	Addr    netip.AddrPort // zero for no path
	VNI     uint32         // of the allocation on a peer relay, 0 for a direct path
	Latency time.Duration  // round trip
	MTU     int            // largest wire packet known to pass, in bytes, 0 if not measured
}

// Better reports whether path a should replace path b, which takes more than being a
// little faster (wire document paths, section 10).
func Better(a, b Quality) bool {
	switch {
	case a.Addr == b.Addr && a.VNI == b.VNI:
		return a.MTU > b.MTU
	case !b.Addr.IsValid():
		return true
	case !a.Addr.IsValid():
		return false
	case (a.VNI == 0) != (b.VNI == 0):
		return a.VNI == 0
	}
	pa, pb := addrPoints(a.Addr.Addr()), addrPoints(b.Addr.Addr())
	if a.Latency < b.Latency {
		pa += speedPoints(a.Latency, b.Latency)
	} else {
		pb += speedPoints(b.Latency, a.Latency)
	}
	if pa <= 1 && pb == 0 {
		return false
	}
	return pa > pb
}

// speedPoints returns 0 to 100: by how many percent fast is below slow.
func speedPoints(fast, slow time.Duration) int {
	if slow <= 0 {
		return 0
	}
	return 100 - int(100*fast/slow)
}

// addrPoints returns the points for the kind of an address.
func addrPoints(a netip.Addr) int {
	points := 0
	switch {
	case a.IsLoopback():
		points = 50
	case a.IsLinkLocalUnicast():
		points = 30
	case a.IsPrivate():
		points = 20
	}
	if a.Is6() {
		points += 10
	}
	return points
}
