package relay

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// How often and how long names are looked up: wire document relay, section 13.
const (
	bootstrapEvery  = 10 * time.Minute
	bootstrapBudget = time.Minute
)

// BootstrapDNS is an http.Handler that tells the addresses of a few names, those of
// coordination servers, to nodes whose own resolver fails them: wire document relay,
// section 13. Run keeps it up to date.
type BootstrapDNS struct {
	names   []string
	resolve func(ctx context.Context, name string) ([]netip.Addr, error)
	log     *slog.Logger
	found   atomic.Pointer[map[string][]netip.Addr]
}

// NewBootstrapDNS returns a handler that knows no address yet. With resolve nil the
// system's resolver is asked. log may be nil.
func NewBootstrapDNS(names []string, resolve func(ctx context.Context, name string) ([]netip.Addr, error), log *slog.Logger) *BootstrapDNS {
	if resolve == nil {
		resolve = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &BootstrapDNS{resolve: resolve, log: log}
	for _, name := range names {
		b.names = append(b.names, strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	b.found.Store(&map[string][]netip.Addr{})
	return b
}

// Run looks the names up, now and again and again, until ctx ends.
func (b *BootstrapDNS) Run(ctx context.Context) {
	tick := time.NewTicker(bootstrapEvery)
	defer tick.Stop()
	for {
		b.refresh(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// refresh looks the names up. What was known of a name stays when that fails.
func (b *BootstrapDNS) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, bootstrapBudget)
	defer cancel()
	old, found := *b.found.Load(), make(map[string][]netip.Addr, len(b.names))
	for _, name := range b.names {
		ips, err := b.resolve(ctx, name)
		if err != nil || len(ips) == 0 {
			b.log.Debug("name for nodes without a resolver does not resolve", "name", name, "err", err)
			ips = old[name]
		}
		for i := range ips {
			ips[i] = ips[i].Unmap()
		}
		if len(ips) > 0 {
			found[name] = ips
		}
	}
	b.found.Store(&found)
}

// ServeHTTP answers with all names, whichever was asked for: they are few.
func (b *BootstrapDNS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	answer := map[string][]netip.Addr{}
	for name, ips := range *b.found.Load() {
		mixed := append([]netip.Addr(nil), ips...)
		rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		answer[name] = mixed
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Connection", "close")
	json.NewEncoder(w).Encode(answer)
}
