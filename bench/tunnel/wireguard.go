//go:build linux

package tunnel

import (
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/peterbourgon/ff/v3/ffcli"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/ginnel/ginnel/bench/rig"
	"github.com/ginnel/ginnel/wire/key"
)

const (
	wireguardName   = "wireguard-go-peer"
	wireguardDevice = "wgbench0"
	wireguardPort   = 51820
)

// wireguardCommand is the hidden sub-command that is one end of the plain
// wireguard-go pair, in a process of its own so that its cost can be told. Its
// configuration comes by standard input.
func wireguardCommand() *ffcli.Command {
	fs := flag.NewFlagSet(wireguardName, flag.ContinueOnError)
	mtu := fs.Int("mtu", device.DefaultMTU, "MTU in `bytes`")
	return &ffcli.Command{Name: wireguardName, FlagSet: fs, Exec: func(ctx context.Context, _ []string) error {
		config, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		return runWireGuard(ctx, *mtu, string(config))
	}}
}

// runWireGuard runs wireguard-go as it comes, until ctx or the process ends.
func runWireGuard(ctx context.Context, mtu int, config string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	t, err := tun.CreateTUN(wireguardDevice, mtu)
	if err != nil {
		return fmt.Errorf("create %s: %w", wireguardDevice, err)
	}
	dev := device.NewDevice(t, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, wireguardName))
	defer dev.Close()
	if err := dev.IpcSet(config); err != nil {
		return fmt.Errorf("configure wireguard-go: %w", err)
	}
	if err := dev.Up(); err != nil {
		return fmt.Errorf("start wireguard-go: %w", err)
	}
	select {
	case <-ctx.Done():
	case <-dev.Wait():
	}
	return nil
}

// startWireGuard runs a wireguard-go pair on two hosts that reach each other at
// the given addresses.
func startWireGuard(ctx context.Context, hosts [2]*rig.Host, outer [2]string, mtu int) (*contender, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &contender{name: "wireguard-go", hosts: hosts}
	keys := [2]key.NodePrivate{key.NewNode(), key.NewNode()}
	for i, h := range hosts {
		c.addrs[i] = netip.AddrFrom4([4]byte{10, 99, 0, byte(1 + i)})
		private, other := keys[i].Raw32(), keys[1-i].Public()
		config := fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nendpoint=%s:%d\nallowed_ip=10.99.0.0/24\n",
			hex.EncodeToString(private[:]), wireguardPort, other.UntypedHex(), outer[1-i], wireguardPort)
		p, err := h.Start(wireguardName+"-"+h.Name, strings.NewReader(config), self, "tunnel", wireguardName, fmt.Sprintf("--mtu=%d", mtu))
		if err != nil {
			return nil, err
		}
		c.daemons[i] = p
		err = p.Until(ctx, "the tunnel interface exists", func() error {
			return h.Run("ip", "addr", "replace", c.addrs[i].String()+"/24", "dev", wireguardDevice)
		})
		if err == nil {
			err = h.Run("ip", "link", "set", wireguardDevice, "up")
		}
		if err != nil {
			return nil, err
		}
	}
	return c, c.daemons[0].Until(ctx, "the wireguard-go pair is connected", func() error { return hosts[0].Echo(ctx, c.addrs[1]) })
}
