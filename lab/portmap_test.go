package lab

import (
	"testing"
	"time"

	"github.com/ginnel/ginnel/lab/vnet/gateway"
)

// TestPortMapping has a hard NAT whose router opens ports when asked: that makes it easy.
func TestPortMapping(t *testing.T) {
	for name, o := range map[string]gateway.Options{"NAT-PMP": {PMP: true}, "PCP": {PCP: true}, "UPnP": {UPnP: 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			Run(t, 5, func(w *World) {
				home := w.Site("home", H)
				g, err := gateway.New(home.Router, home.Gateway(), o)
				if err != nil {
					w.Fatal(err)
				}
				defer g.Close()
				x := home.Node("alice")
				y := w.Site("office", H).Node("bob")
				w.Within(10*time.Second, "both are up", w.AllUp)
				s := y.Stream(x, 20*time.Millisecond)
				w.Within(5*time.Second, "direct", func() bool { return y.Direct(x).IsValid() && x.Direct(y).IsValid() })
				if s.Stop(); s.Lost() != 0 {
					w.Errorf("%d packets of %d were lost", s.Lost(), s.Sent())
				}
			})
		})
	}
}
