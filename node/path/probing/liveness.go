package probing

import "time"

// What is sent into a dead path is lost until somebody doubts the path. Heartbeats alone
// take TrustDuration for that. So while data flows, silence of the peer is a reason to
// ask: two pings without an answer, and data goes through the relay as well until the
// next pong.
const (
	// FlowDuration is how long after the last packet sent data counts as flowing.
	FlowDuration = time.Second
	// silence is how long nothing may come over the best path, while data flows, before
	// the peer is asked.
	silence = 500 * time.Millisecond
	// askWaitMin and askWaitMax bound how long an answer may take; between them it is one
	// and a half round trips. A wrong guess costs no more than some packets sent twice.
	askWaitMin = 200 * time.Millisecond
	askWaitMax = time.Second
	// maxAsks is how many questions in a row go unanswered before a path is doubted.
	maxAsks = 2
)

// liveness is what a machine knows of whether its best path is alive.
type liveness struct {
	flowing bool      // data was sent within FlowDuration as far as known
	heard   time.Time // last packet that came over the best path
	asked   time.Time // last question
	asks    int       // questions since the last pong
}

// Heard says that a packet of the peer came over the best path at the given time.
func (m *Machine) Heard(at time.Time) {
	if at.After(m.live.heard) {
		m.live.heard = at
	}
}

// askWait is how long a question may stay unanswered.
func (m *Machine) askWait() time.Duration {
	return min(max(m.best.Latency*3/2, askWaitMin), askWaitMax)
}

// liveDeadline returns when watch has something to do, zero for never.
func (m *Machine) liveDeadline() time.Time {
	l := &m.live
	switch {
	case !m.best.Addr.IsValid():
		if l.flowing {
			return m.lastSend.Add(FlowDuration)
		}
		return time.Time{}
	case l.asks > 0:
		return l.asked.Add(m.askWait())
	case !l.flowing:
		return time.Time{}
	}
	return minTime(m.lastSend.Add(FlowDuration), maxTime(l.heard, l.asked).Add(silence))
}

// watch asks the peer whether it is there if there is a reason to, and doubts the best
// path if it does not answer.
func (m *Machine) watch(now time.Time, acts []Action) []Action {
	l := &m.live
	if l.flowing && now.Sub(m.lastSend) >= FlowDuration {
		l.flowing = false
	}
	if !m.best.Addr.IsValid() {
		l.asks = 0
		return acts
	}
	switch {
	case l.asks > 0 && now.Sub(l.asked) < m.askWait():
		return acts
	case l.asks >= maxAsks && m.trusted(now):
		if acts = m.doubt(now, acts); m.trusted(now) {
			return acts
		}
	case l.asks == 0 && (!l.flowing || now.Sub(maxTime(l.heard, l.asked)) < silence):
		return acts
	case l.asks > 0 && !l.flowing && !m.trusted(now):
		l.asks = 0 // heartbeats do from here on
		return acts
	}
	return m.ask(now, acts)
}

// ask pings the best path.
func (m *Machine) ask(now time.Time, acts []Action) []Action {
	m.live.asked = now
	m.live.asks++
	return m.ping(now, m.best.Addr, liveCheck, acts)
}

// doubt has data go through the relay as well, until the next pong, and looks for another
// path. One that answered while the best was silent takes its place at once.
func (m *Machine) doubt(now time.Time, acts []Action) []Action {
	var next *candidate
	for _, c := range m.candidates {
		if c.addr == m.best.Addr {
			continue
		}
		if c.ponged.After(m.live.heard) && now.Sub(c.ponged) < CandidateGap && (next == nil || next.ponged.Before(c.ponged)) {
			next = c
		}
		c.pinged = time.Time{} // the gap is for quiet times
	}
	if next != nil {
		m.best = Quality{Addr: next.addr, Latency: next.latency}
		m.trustedUntil = next.ponged.Add(TrustDuration)
		m.live.heard, m.live.asks = next.ponged, 0
		return acts
	}
	m.trustedUntil = now
	m.lastRound, m.lastCall = time.Time{}, time.Time{}
	return m.seek(now, acts)
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
