package peerrelay

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/ginnel/ginnel/node/path/udpbatch"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// Options configure a Server.
type Options struct {
	Config
	// Port is the UDP port of both families, 0 for any.
	Port uint16
	// Mark is the firewall mark of outgoing packets (SO_MARK, Linux, as root), 0 for none.
	Mark uint32
	// Shards is how many sockets per family share the port, 0 for one per processor up to
	// 16. Where the system cannot spread packets over sockets, or with Listen, it is 1.
	Shards int
	// Listen opens a socket for network "udp4" or "udp6"; nil means the system's.
	Listen func(network string, port uint16) (net.PacketConn, error)
	// STUN, if not nil, is given STUN messages that came to the server's sockets. The
	// memory is only valid during the call.
	STUN func(pkt []byte, from netip.AddrPort)
	// Log may be nil.
	Log *slog.Logger
}

// socketBuffer is the size of the kernel's buffers of a socket each way, in bytes.
const socketBuffer = 7 << 20

// Server runs a Table over UDP sockets.
type Server struct {
	opts   Options
	table  *Table
	shards []*shard
	ports  [2]uint16

	stop chan struct{}
	once sync.Once
	done sync.WaitGroup
}

// shard is one socket per family; either may be missing.
type shard [2]udpbatch.Conn

// Start opens the sockets and forwards until Close. One family is enough. The server
// makes no sessions before SetAddresses.
func Start(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, table: NewTable(time.Now(), o.Config), stop: make(chan struct{})}
	if err := s.open(); err != nil {
		s.closeSockets()
		return nil, err
	}
	for _, sh := range s.shards {
		for f, c := range sh {
			if c != nil {
				r := newReader(s, sh, Family(f))
				s.done.Go(r.run)
			}
		}
	}
	s.done.Go(s.collect)
	o.Log.Info("peer relay: serving", "port4", s.ports[UDP4], "port6", s.ports[UDP6], "shards", len(s.shards),
		"key", s.table.Public().ShortString())
	return s, nil
}

// open opens the sockets of all shards. Both families use one port if it is free.
func (s *Server) open() error {
	count := s.opts.Shards
	if count <= 0 {
		count = min(16, runtime.GOMAXPROCS(0))
	}
	listen := s.opts.Listen
	if listen == nil {
		listen = func(network string, port uint16) (net.PacketConn, error) {
			return listenShared(network, port, s.opts.Mark)
		}
	}
	if s.opts.Listen != nil || !canShare {
		count = 1
	}
	port := s.opts.Port
	var errs [2]error
	for i := range count {
		sh := new(shard)
		s.shards = append(s.shards, sh)
		for f := range sh {
			if i > 0 && s.ports[f] == 0 {
				continue
			}
			if i > 0 {
				port = s.ports[f]
			}
			pc, err := listen("udp"+string("46"[f]), port)
			if errs[f] = err; err != nil {
				continue
			}
			sh[f] = udpbatch.New(pc)
			s.ports[f] = sh[f].LocalAddr().Port()
			if i == 0 && port == 0 {
				port = s.ports[f]
			}
		}
	}
	if s.ports[UDP4] == 0 && s.ports[UDP6] == 0 {
		return fmt.Errorf("peer relay: open UDP port %d: %w", s.opts.Port, errors.Join(errs[0], errs[1]))
	}
	for f, err := range errs {
		if err != nil {
			s.opts.Log.Warn("peer relay: socket does not open", "family", Family(f), "port", port, "error", err)
		}
	}
	return nil
}

// Close closes the sockets and ends all sessions. It waits until nothing runs any more.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.stop)
		s.closeSockets()
	})
	s.done.Wait()
}

func (s *Server) closeSockets() {
	for _, sh := range s.shards {
		for _, c := range sh {
			if c != nil {
				c.Close()
			}
		}
	}
}

// collect ends expired sessions.
func (s *Server) collect() {
	tick := time.NewTicker(CollectInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if n := s.table.Collect(time.Now()); n > 0 {
				s.opts.Log.Debug("peer relay: sessions expired", "count", n)
			}
		case <-s.stop:
			return
		}
	}
}

// Port returns the UDP port of a family, 0 if it has no socket.
func (s *Server) Port(f Family) uint16 { return s.ports[f] }

// Public returns the server's disco key.
func (s *Server) Public() key.DiscoPublic { return s.table.Public() }

// SetAddresses says where the server may be reached now.
func (s *Server) SetAddresses(a Addresses) { s.table.SetAddrs(a.list(s.ports)) }

// Answer is the function Answer for this server's table.
func (s *Server) Answer(requester key.DiscoPublic, request *disco.AllocateRequest,
	admitted func(key.DiscoPublic) bool) (disco.AllocateResponse, error) {
	return Answer(time.Now(), s.table, requester, request, admitted)
}

// Allocate makes a session for this node itself as a client.
func (s *Server) Allocate(a, b key.DiscoPublic) (disco.RelayEndpoint, error) {
	return s.table.Allocate(time.Now(), a, b)
}

// Send sends a datagram from the server's socket, such as a STUN request.
func (s *Server) Send(pkt []byte, to netip.AddrPort) error {
	c := s.shards[0][family(to)]
	if c == nil {
		return fmt.Errorf("peer relay: send to %v: no %v socket", to, family(to))
	}
	return c.WriteBatch([][]byte{pkt}, to)
}

// Sessions lists the sessions by VNI.
func (s *Server) Sessions() []Session { return s.table.Sessions(time.Now()) }

// Counters returns what was counted so far.
func (s *Server) Counters() Counters { return s.table.Counters() }
