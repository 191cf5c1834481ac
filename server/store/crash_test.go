package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

func userID(seq uint64) control.UserID { return control.UserID(seq) }

// crashChild joins nodes from several goroutines at once until it is killed. It
// prints each node key when its join has been answered.
func crashChild(dir string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	s, err := Open(dir)
	if err != nil {
		fail(err)
	}
	svc, err := tailnet.Open(context.Background(), s, tailnet.Options{OnlineEvery: 2 * time.Millisecond})
	if err != nil {
		fail(err)
	}
	ctx := context.Background()
	u := svc.Snapshot().UserByLogin(tailnet.DefaultTailnet, "crash")
	if u == nil {
		if u, err = svc.CreateUser(ctx, tailnet.Actor{Kind: tailnet.ActorAdmin}, tailnet.DefaultTailnet, tailnet.UserParams{LoginName: "crash"}); err != nil {
			fail(err)
		}
	}
	_, secret, err := svc.CreateAuthKey(ctx, tailnet.Actor{Kind: tailnet.ActorAdmin}, tailnet.AuthKeyParams{UserID: u.ID, Reusable: true})
	if err != nil {
		fail(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				p := tailnet.RegisterParams{Machine: key.NewMachine().Public(), NodeKey: key.NewNode().Public(), AuthKey: secret}
				r, err := svc.Register(ctx, p)
				if err != nil {
					fail(err)
				}
				if err := svc.SetOnline(ctx, r.Node.ID); err != nil {
					fail(err)
				}
				// One write a line: what the parent reads was answered.
				os.Stdout.WriteString(p.NodeKey.String() + "\n")
			}
		})
	}
	wg.Wait()
}

// kill -9 loses nothing that was acknowledged, and nobody was last seen earlier than
// it was known to be before.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]bool{}
	seen := map[control.NodeID]time.Time{}
	for round := range 4 {
		cmd := selfCommand(dir)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		killAt := 20 + rand.IntN(300)
		for n := 0; lines.Scan(); n++ {
			acked[lines.Text()] = true
			if n == killAt {
				cmd.Process.Signal(syscall.SIGKILL)
				// Reading goes on: what was printed before the kill counts too.
			}
		}
		cmd.Wait()
		if stderr.Len() > 0 {
			t.Fatalf("round %d: the child failed by itself: %s", round, stderr.String())
		}
		checkAcked(t, dir, acked, seen)
	}
	if len(acked) < 80 {
		t.Fatalf("only %d joins were acknowledged", len(acked))
	}
}

// checkAcked reopens the database as a server started anew would.
func checkAcked(t *testing.T, dir string, acked map[string]bool, seen map[control.NodeID]time.Time) {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	defer s.Close()
	svc, err := tailnet.Open(t.Context(), s, tailnet.Options{})
	if err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	defer svc.Close()
	snap := svc.Snapshot()
	lost := 0
	for text := range acked {
		k, err := key.ParseNodePublic(text)
		if err != nil {
			t.Fatalf("the child printed %q", text)
		}
		if snap.NodeByKey(k) == nil {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged joins are lost", lost, len(acked))
	}
	noted := 0
	for n := range snap.Nodes(tailnet.DefaultTailnet) {
		if n.LastSeen.Before(seen[n.ID]) {
			t.Errorf("node %d was last seen at %v, and at %v before the crash", n.ID, n.LastSeen, seen[n.ID])
		}
		if seen[n.ID] = n.LastSeen; n.LastSeen.After(n.Created) {
			noted++ // nodes here do nothing but join and stay
		}
	}
	if noted == 0 {
		t.Errorf("none of %d nodes was seen after it joined", snap.NodeCount())
	}
	var uses int64
	for k := range snap.AuthKeys(tailnet.DefaultTailnet) {
		uses += k.Uses
	}
	if int(uses) != snap.NodeCount() {
		t.Errorf("%d nodes, but the auth keys were used %d times: not one transaction", snap.NodeCount(), uses)
	}
}
