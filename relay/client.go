package relay

import (
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/ginnel/ginnel/relay/internal/cork"
	"github.com/ginnel/ginnel/relay/internal/outbox"
	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// client is one connection.
type client struct {
	s        *Server
	nc       net.Conn   // what frames go through
	raw      net.Conn   // what is closed: under TLS, so that closing never waits
	cork     *cork.Conn // under TLS, or nil
	key      key.NodePublic
	addr     netip.AddrPort // zero when unknown
	info     wire.ClientInfo
	mesh     bool // holder of the mesh key
	notIdeal bool
	timeout  time.Duration // of writes
	since    time.Time

	peer *peer // set once by register
	out  outbox.Outbox
	dup  atomic.Bool // there are other connections of the same key
	gone atomic.Bool // the connection has ended

	keepAlive *time.Timer

	// Owned by the reader.
	preferred bool
	sentTo    map[*client]struct{} // who must be told when this connection ends
	lastDst   *client              // the one added or seen last
	notHere   *rate.Limiter        // of PeerGone(not here) notices
	cache     *[cacheLen]cached
	read      readStats
	throttle  throttle
	kicks     []kick
	// Mesh: interests already noted while Server.leaves was pairsEpoch.
	pairs      map[pair]struct{}
	pairsEpoch uint64
}

// present describes c to watchers.
func (c *client) present() wire.PeerPresent {
	p := wire.PeerPresent{Key: c.key, Addr: c.addr}
	if c.mesh {
		p.Flags |= wire.PresentMesh
	}
	if c.info.IsProber {
		p.Flags |= wire.PresentProber
	}
	if c.notIdeal {
		p.Flags |= wire.PresentNotIdeal
	}
	if p.Flags == 0 {
		p.Flags = wire.PresentRegular
	}
	return p
}

// maxTLSRecord is the most data in one TLS record, in bytes.
const maxTLSRecord = 16 << 10

// WriteFrames implements outbox.Writer.
func (c *client) WriteFrames(chunks [][]byte, packets outbox.Count) error {
	var err error
	if len(chunks) == 1 && len(chunks[0]) <= maxTLSRecord {
		err = c.write(chunks[0])
	} else {
		err = c.writeMany(chunks)
	}
	if err == nil && packets.Frames > 0 {
		c.s.stats.packetsSent.Add(int64(packets.Frames))
		c.s.stats.bytesSent.Add(int64(packets.Bytes - packets.Frames*packetOverhead))
	}
	return err
}

// packetOverhead is the header and the key in front of a packet.
const packetOverhead = wire.HeaderLen + wire.KeyLen

// Failed implements outbox.Writer.
func (c *client) Failed(err error, lost outbox.Lost) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.s.stats.writeTimeouts.Add(1)
	}
	c.s.stats.lost(dropWriteError, lost)
	c.s.log.Debug("relay client write failed", "client", c.key.ShortString(), "addr", c.addr, "error", err)
	c.raw.Close()
}

// startKeepAlive begins to send keepalives.
func (c *client) startKeepAlive() {
	every := nextKeepAlive()
	c.keepAlive = time.AfterFunc(math.MaxInt64, func() {
		if c.out.AddControl(wire.AppendKeepAlive) {
			c.s.stats.noteRTT(c.raw)
			c.keepAlive.Reset(every)
		}
	})
	c.keepAlive.Reset(every)
}

// end stops what belongs to c after its reader has ended and c is unregistered.
func (c *client) end() {
	c.raw.Close()
	c.keepAlive.Stop()
	c.s.stats.lost(dropGone, c.out.Close())
}
