package tailnet

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Audit records go when they are too old, in small steps, while commands go on.
func TestAuditRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 10 * 24 * time.Hour
		f := start(t, Options{AuditKeep: keep})
		defer f.Close()
		const more = pruneStep + 10
		for range more {
			f.authKey(AuthKeyParams{})
		}
		left := func() int {
			t.Helper()
			records, err := f.Audit(t.Context(), DefaultTailnet, 0, 2*more)
			if err != nil {
				t.Fatal(err)
			}
			return len(records)
		}
		time.Sleep(keep - time.Hour)
		f.authKey(AuthKeyParams{})
		if got := left(); got != more+2 {
			t.Fatalf("%d records before any is too old", got)
		}
		seq := f.Snapshot().Seq()
		time.Sleep(2*time.Hour + pruneEvery)
		synctest.Wait()
		if got := left(); got != 1 {
			t.Errorf("%d records are left, want the newest alone", got)
		}
		if f.Snapshot().Seq() != seq {
			t.Error("pruning counts as a change")
		}
		f.store.fail(errors.New("disk full"))
		time.Sleep(2 * keep)
		synctest.Wait()
		f.store.fail(nil)
		f.authKey(AuthKeyParams{})
		if got := left(); got != 1 {
			t.Errorf("%d records are left", got)
		}
	})
}

// Without a limit nothing goes.
func TestAuditIsKeptForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, Options{})
		defer f.Close()
		time.Sleep(10 * 365 * 24 * time.Hour)
		synctest.Wait()
		if records, err := f.Audit(t.Context(), DefaultTailnet, 0, 10); err != nil || len(records) != 1 {
			t.Errorf("%d records, %v", len(records), err)
		}
	})
}
