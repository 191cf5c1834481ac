package client

import (
	"crypto/rand"
	"time"

	"github.com/ginnel/ginnel/wire/relay"
)

// newPing registers a ping of random data.
func (c *Conn) newPing() (data [relay.PingLen]byte, done chan struct{}) {
	rand.Read(data[:])
	done = make(chan struct{})
	c.pmu.Lock()
	defer c.pmu.Unlock()
	if c.pings == nil {
		c.pings = make(map[[relay.PingLen]byte]chan struct{})
	}
	c.pings[data] = done
	return data, done
}

// forgetPing ends the wait for a ping.
func (c *Conn) forgetPing(data [relay.PingLen]byte) {
	c.pmu.Lock()
	delete(c.pings, data)
	c.pmu.Unlock()
}

// gotPong ends the ping that a pong answers, if there is one.
func (c *Conn) gotPong(data [relay.PingLen]byte) {
	c.pmu.Lock()
	done := c.pings[data]
	delete(c.pings, data)
	c.pmu.Unlock()
	if done != nil {
		close(done)
	}
}

// answer sends a pong without holding up the receiver. While one is on its way
// further pings go unanswered.
func (c *Conn) answer(data [relay.PingLen]byte) {
	if !c.ponging.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer c.ponging.Store(false)
		if err := c.writeSmall(func(b []byte) []byte { return relay.AppendPong(b, data) }); err != nil {
			c.opts.Logger.Debug("relay ping not answered", "error", err)
		}
	}()
}

// deadline is when silence from now on means that the relay is dead.
func deadline() time.Time { return time.Now().Add(readTimeout) }
