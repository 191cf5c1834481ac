package tun

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

const tunPath = "/dev/net/tun"

// userspaceAdvice ends the messages of Open: what to do when there is no way to
// a tunnel interface.
const userspaceAdvice = "or use userspace mode (--tun=userspace-networking), which needs no rights"

// Errors of Open that callers tell apart. The returned errors wrap them and say
// what to do.
var (
	ErrPermission = errors.New("no permission to create a tunnel interface")
	ErrNoTUN      = errors.New("this system has no tunnel device")
	ErrBusy       = errors.New("the interface is in use")
	ErrForeign    = errors.New("an interface of that name exists and is no tunnel")
)

// Open creates the tunnel interface name with the given MTU in bytes. It hands
// whole runs of TCP and UDP segments to and from the kernel where that can. The
// interface is removed when the device is closed or the process ends.
func Open(name string, mtu int) (Device, error) {
	if len(name) == 0 || len(name) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("bad interface name %q: must have 1 to %d characters", name, unix.IFNAMSIZ-1)
	}
	file, err := openFile(name)
	if err != nil {
		return nil, err
	}
	dev, err := wgtun.CreateTUNFromFile(file, mtu)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot set up tunnel interface %q: %w", name, err)
	}
	actual, err := dev.Name()
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("cannot set up tunnel interface %q: %w", name, err)
	}
	d := &kernelDevice{dev: dev, file: file, name: actual, events: make(chan Event, 8)}
	d.mtu = mtu
	go d.forwardEvents()
	return d, nil
}

// openFile opens the tunnel device, loading the kernel module if it is missing,
// and binds it to the interface name.
func openFile(name string) (*os.File, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || err == unix.ENODEV || err == unix.ENXIO {
		// Best effort; what counts is whether the device is there afterwards.
		_ = exec.Command("/sbin/modprobe", "tun").Run()
		fd, err = unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, explain(name, err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bad interface name %q: %w", name, err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		return nil, explain(name, err)
	}
	return os.NewFile(uintptr(fd), tunPath), nil
}

// explain says what is wrong and what to do about it.
func explain(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot create tunnel interface %q: %w: run as root (or with CAP_NET_ADMIN), %s", name, ErrPermission, userspaceAdvice)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("cannot create tunnel interface %q: %w: %s is missing; load the kernel module \"tun\" or give the container that device, %s", name, ErrNoTUN, tunPath, userspaceAdvice)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("cannot create tunnel interface %q: %w: is another daemon running? Stop it, or choose another name with --tun", name, ErrBusy)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("cannot create tunnel interface %q: %w: choose another name with --tun", name, ErrForeign)
	}
	return fmt.Errorf("cannot create tunnel interface %q: %w", name, err)
}

// kernelDevice is a Linux tunnel interface.
type kernelDevice struct {
	dev    wgtun.Device
	file   *os.File // the device's own; for deadlines
	name   string
	events chan Event
	closed atomic.Bool

	mu  sync.Mutex
	mtu int
}

func (d *kernelDevice) Name() string         { return d.name }
func (d *kernelDevice) BatchSize() int       { return d.dev.BatchSize() }
func (d *kernelDevice) Events() <-chan Event { return d.events }

// Close removes the interface, unless it was made persistent by others.
func (d *kernelDevice) Close() error {
	d.closed.Store(true)
	return d.dev.Close()
}

func (d *kernelDevice) MTU() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mtu
}

func (d *kernelDevice) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n, err := d.dev.Read(bufs, sizes, offset)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		// Wake sets a deadline that has passed. Whoever wakes us has queued
		// what we are to see before that, so clearing it loses nothing.
		if err := d.file.SetReadDeadline(time.Time{}); err != nil {
			return 0, fmt.Errorf("tunnel interface %s: %w", d.name, err)
		}
		return 0, ErrWoken
	case errors.Is(err, wgtun.ErrTooManySegments):
		return n, nil // the run did not fit in bufs; the stack sends the rest again
	case errors.Is(err, os.ErrClosed), d.closed.Load():
		return 0, os.ErrClosed
	case errors.Is(err, unix.ENOBUFS):
		// The watch over the interface's state has ended, under a flood of
		// changes. Packets still flow.
		return 0, ErrWoken
	}
	return n, fmt.Errorf("read from tunnel interface %s: %w", d.name, err)
}

func (d *kernelDevice) Wake() {
	// It fails only once the device is closed, and then Read returns anyway.
	_ = d.file.SetReadDeadline(time.Unix(1, 0))
}

func (d *kernelDevice) Write(bufs [][]byte, offset int) (int, error) {
	_, err := d.dev.Write(bufs, offset)
	if err != nil {
		if errors.Is(err, os.ErrClosed) {
			return 0, os.ErrClosed
		}
		return 0, fmt.Errorf("write to tunnel interface %s: %w", d.name, err)
	}
	return len(bufs), nil
}

// forwardEvents translates the events of the underlying device until it closes.
// A full channel drops events rather than holding up the device.
func (d *kernelDevice) forwardEvents() {
	defer close(d.events)
	for e := range d.dev.Events() {
		var out Event
		if e&wgtun.EventUp != 0 {
			out |= EventUp
		}
		if e&wgtun.EventDown != 0 {
			out |= EventDown
		}
		if e&wgtun.EventMTUUpdate != 0 {
			out |= EventMTU
			if mtu, err := d.dev.MTU(); err == nil {
				d.mu.Lock()
				d.mtu = mtu
				d.mu.Unlock()
			}
		}
		select {
		case d.events <- out:
		default:
		}
	}
}
