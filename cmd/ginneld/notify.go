package main

import (
	"context"
	"net"

	"github.com/ginnel/ginnel/node"
	"github.com/ginnel/ginnel/node/local/api"
)

// notifier tells systemd about the daemon, by the protocol of sd_notify(3). A nil
// notifier tells nobody.
type notifier struct{ socket string }

// newNotifier returns a notifier if the daemon was started by systemd with
// Type=notify, and nil otherwise.
func newNotifier(getenv func(string) string) *notifier {
	socket := getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	return &notifier{socket: socket}
}

// send sends one message. There is nobody to tell about an error.
func (n *notifier) send(message string) {
	if n == nil {
		return
	}
	name := n.socket
	if name[0] == '@' {
		name = "\x00" + name[1:] // abstract name
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Write([]byte(message)) //nolint:errcheck // see above
}

// follow keeps the status text up to date until ctx ends.
func (n *notifier) follow(ctx context.Context, nd *node.Node) {
	if n == nil {
		return
	}
	w, _, err := nd.Watch(ctx, api.NotifyInitialState)
	if err != nil {
		return
	}
	defer w.Close()
	last := ""
	for {
		if text := statusText(nd.Status(false)); text != last {
			last = text
			n.send("STATUS=" + text)
		}
		select {
		case _, ok := <-w.C():
			if !ok {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
