package tun

import (
	"errors"

	"github.com/ginnel/ginnel/internal/packet"
)

// Verdict is what a hook decides about a packet.
type Verdict = packet.Verdict

// Event is a set of things that happened to a device.
type Event int

// The events.
const (
	EventUp Event = 1 << iota
	EventDown
	EventMTU
)

// Headroom is the space, in bytes, that callers of Device.Write leave before
// each packet. A device may overwrite it.
const Headroom = 16

// MaxPacket is the largest packet, in bytes, that a device handles.
const MaxPacket = 65535

// ErrWoken is returned by Read after a Wake.
var ErrWoken = errors.New("tun: read woken")

// Device moves IP packets between the node and a TCP/IP stack. Its methods have
// the shapes of the Device in golang.zx2c4.com/wireguard/tun.
type Device interface {
	// Name returns the name of the interface.
	Name() string
	// MTU returns the largest packet that the stack sends, in bytes.
	MTU() int
	// BatchSize returns how many packets one Read or Write handles at best. It
	// never changes.
	BatchSize() int
	// Read waits for packets toward the mesh, puts them into bufs from offset
	// on, and their lengths into sizes. It returns how many of bufs were used.
	// After Close it fails with os.ErrClosed.
	Read(bufs [][]byte, sizes []int, offset int) (int, error)
	// Write delivers packets from the mesh, each of which begins at offset,
	// at least Headroom, in its buffer. It may change the buffers and their
	// order in bufs. It returns how many packets were delivered; a packet that
	// the stack refuses does not stop the others. Safe for concurrent use.
	Write(bufs [][]byte, offset int) (int, error)
	// Events tells of changes, and is closed by Close.
	Events() <-chan Event
	// Close makes Read and Write fail, and removes the interface.
	Close() error
}

// Waker is a Device whose Read can be interrupted.
type Waker interface {
	Device
	// Wake makes the Read in progress, or else the next one, return 0 and
	// ErrWoken unless it has packets. Wakes are not counted: several may be
	// answered by one return.
	Wake()
}
