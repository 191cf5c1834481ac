package relay

import (
	"net"
	"syscall"
	"time"
)

// Buckets of round-trip times as the kernel measures them: wire document relay,
// section 17. They are not cumulative.
var (
	rttBounds = [...]time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
		150 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond}
	rttLabels = [rttBuckets]string{"10ms", "20ms", "50ms", "100ms", "150ms", "250ms", "500ms", "inf", "non-tcp", "error"}
)

const (
	rttInf = iota + len(rttBounds)
	rttNonTCP
	rttError
	rttBuckets
)

// noteRTT counts the round-trip time of a connection. It costs one system call.
func (s *stats) noteRTT(raw net.Conn) {
	for {
		outer, ok := raw.(netConner)
		if !ok {
			break
		}
		raw = outer.NetConn()
	}
	at := rttNonTCP
	if sc, ok := raw.(syscall.Conn); ok {
		at = rttBucket(tcpRTT(sc))
	}
	s.rtt[at].Add(1)
}

func rttBucket(rtt time.Duration, err error) int {
	if err != nil {
		return rttError
	}
	for i, bound := range rttBounds {
		if rtt <= bound {
			return i
		}
	}
	return rttInf
}
