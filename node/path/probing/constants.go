package probing

import "time"

// Timing of wire document paths, section 6.
const (
	// HeartbeatInterval is the time between pings of the best path in a session.
	HeartbeatInterval = 3 * time.Second
	// SessionActive is how long a session lasts after the last packet sent, and how long
	// a candidate lasts after the last ping received from it.
	SessionActive = 45 * time.Second
	// TrustDuration is how long after a pong a path is used alone.
	TrustDuration = 6500 * time.Millisecond
	// PingTimeout is how long a pong may take.
	PingTimeout = 5 * time.Second
	// CandidateGap is the least time between discovery pings to one candidate.
	CandidateGap = 5 * time.Second
	// UpgradeInterval is the time between full rounds while a direct path works.
	UpgradeInterval = 60 * time.Second
	// GoodEnough is the latency at which no better path is looked for.
	GoodEnough = 5 * time.Millisecond

	// pruneAbove is how many candidates there may be before stale ones are looked for.
	pruneAbove = 100
	// maxLearned bounds the candidates known only from pings received.
	maxLearned = 128
	// maxCalled bounds the endpoints taken from one call-me-maybe message. A relay frame
	// could hold 3640, but then one message would have us send half a megabyte to
	// whomever it names.
	maxCalled = 512
	// probeBurst and probeRate bound the discovery pings to one peer: so many at once, and
	// so many per second in the long run.
	probeBurst = 640
	probeRate  = 256
)
