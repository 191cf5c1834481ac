package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	wire "github.com/ginnel/ginnel/wire/relay"
)

// RateLimit bounds what is read of one client, in bytes of frames without their
// headers. Nothing is dropped: the client has to wait (wire document relay, section
// 7.8). Other relays of the region are not bounded.
type RateLimit struct {
	// BytesPerSecond 0 is no bound.
	BytesPerSecond int64 `json:"PerClientRateLimitBytesPerSec"`
	// Burst is how many bytes may come at once. It is taken to be at least one
	// packet of any size.
	Burst int64 `json:"PerClientRateBurstBytes"`
}

// minBurst lets a frame of any size through.
const minBurst = wire.MaxSendPacket

// ParseRateLimit reads the JSON form of a RateLimit, in which operators keep it in a
// file.
func ParseRateLimit(text []byte) (RateLimit, error) {
	var l RateLimit
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return RateLimit{}, fmt.Errorf("relay: rate limit: %w", err)
	}
	return l, l.check()
}

func (l RateLimit) check() error {
	if l.BytesPerSecond < 0 || l.Burst < 0 || l.Burst > math.MaxInt32 {
		return errors.New("relay: rate limit: numbers must not be below 0, nor the burst above 2 GiB")
	}
	return nil
}

// SetRateLimit puts a limit in the place of Config.RateLimit, for those who are
// connected too.
func (s *Server) SetRateLimit(l RateLimit) error {
	if err := l.check(); err != nil {
		return err
	}
	s.rateLimit.Store(&l)
	return nil
}

// throttle is what one reader knows of the limit.
type throttle struct {
	of      *RateLimit // that limiter was made of
	limiter *rate.Limiter
}

// wait blocks until n bytes more are within the limit, or the server ends.
func (t *throttle) wait(limit *atomic.Pointer[RateLimit], n int, s *Server) {
	l := limit.Load()
	if l == nil || l.BytesPerSecond == 0 || n == 0 {
		return
	}
	now := time.Now()
	if t.of != l {
		t.of = l
		t.limiter = rate.NewLimiter(rate.Limit(l.BytesPerSecond), int(max(l.Burst, minBurst)))
	}
	var pause time.Duration
	for n > 0 {
		part := min(n, t.limiter.Burst())
		pause = t.limiter.ReserveN(now, part).DelayFrom(now)
		n -= part
	}
	if pause <= 0 {
		return
	}
	s.stats.rateWaits.Add(1)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.closing:
	}
}
