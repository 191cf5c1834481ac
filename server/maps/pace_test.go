package maps

import (
	"testing"
	"testing/synctest"
	"time"
)

// When streams need long to take what is published, the next publication leaves them
// as long again; when they do not, nothing waits for more than the coalescing.
func TestPaceFollowsDelivery(t *testing.T) {
	inWorld(t, Config{Coalesce: 50 * time.Millisecond}, func(t *testing.T, w *world) {
		a, b := w.join("a"), w.join("b")
		time.Sleep(time.Second)
		s, _ := w.open(a)
		port := 0
		next := func(delivery time.Duration) time.Duration {
			t.Helper()
			port += 2
			w.endpoint(b.ID, port)
			synctest.Wait()
			start := time.Now()
			if !s.woken() {
				t.Fatal("the first change after a pause is not told at once")
			}
			w.endpoint(b.ID, port+1)
			time.Sleep(delivery)
			if got := w.text(s); got != patchText(b.ID, port) {
				t.Fatalf("told %s", got)
			}
			<-s.Ready()
			took := time.Since(start)
			if got := w.text(s); got != patchText(b.ID, port+1) {
				t.Fatalf("told %s", got)
			}
			time.Sleep(time.Second)
			return took
		}
		for _, tt := range []struct{ delivery, want time.Duration }{
			{0, 50 * time.Millisecond},
			{20 * time.Millisecond, 50 * time.Millisecond},
			{40 * time.Millisecond, 80 * time.Millisecond},
			{100 * time.Millisecond, 200 * time.Millisecond},
			{190 * time.Millisecond, 380 * time.Millisecond},
		} {
			if got := next(tt.delivery); got != tt.want {
				t.Errorf("taken after %v, the next change is told after %v, want %v", tt.delivery, got, tt.want)
			}
		}
	})
}
