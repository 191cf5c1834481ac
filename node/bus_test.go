package node

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

// received returns what is in the watcher's channel.
func received(w *Watcher) (list []*api.Notify) {
	for {
		select {
		case n, ok := <-w.C():
			if !ok {
				return list
			}
			list = append(list, n)
		default:
			return list
		}
	}
}

func TestRateLimitMergesWhatChangesAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus()
		w, all := b.add(api.NotifyRateLimit|api.NotifyEngineUpdates), b.add(api.NotifyEngineUpdates)
		defer b.closeAll()
		engine := func(n int) *api.Notify { return &api.Notify{Version: "v", Engine: &api.EngineStatus{NumLive: n}} }
		b.send(engine(1), api.NotifyEngineUpdates)
		if got := received(w); len(got) != 1 || got[0].Engine.NumLive != 1 {
			t.Fatalf("the first message: %+v", got)
		}
		b.send(engine(2), api.NotifyEngineUpdates)
		b.send(&api.Notify{SelfChange: &control.Node{ID: 1}, Health: &api.HealthState{}}, 0)
		b.send(engine(3), api.NotifyEngineUpdates)
		if got := received(w); len(got) != 0 {
			t.Fatalf("a burst was not held back: %+v", got)
		}
		time.Sleep(mergeEvery)
		synctest.Wait()
		got := received(w)
		if len(got) != 1 || got[0].Engine.NumLive != 3 || got[0].SelfChange == nil || got[0].Health == nil || got[0].Version != "v" {
			t.Fatalf("merged: %+v", got)
		}

		// What happens rarely comes at once, with what was held back before it.
		url, state := "https://x", api.Running
		b.send(engine(4), api.NotifyEngineUpdates)
		b.send(&api.Notify{BrowseToURL: &url}, 0)
		b.send(&api.Notify{State: &state}, 0)
		got = received(w)
		if len(got) != 2 || got[0].Engine == nil || got[0].Engine.NumLive != 4 || *got[0].BrowseToURL != url || got[1].State == nil {
			t.Fatalf("at once: %+v", got)
		}
		time.Sleep(2 * mergeEvery)
		synctest.Wait()
		if got := received(w); len(got) != 0 {
			t.Errorf("a message came twice: %+v", got)
		}
		if got := received(all); len(got) != 7 || got[5].Engine != nil {
			t.Errorf("a watcher without the limit got %d messages", len(got))
		}

		// A watcher that goes leaves nothing behind.
		b.send(engine(5), api.NotifyEngineUpdates)
		b.send(engine(6), api.NotifyEngineUpdates)
		w.Close()
		time.Sleep(2 * mergeEvery)
		synctest.Wait()
	})
}
