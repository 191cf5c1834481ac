package store

import (
	"context"
	"testing"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/key"
)

// BenchmarkJoin joins nodes by auth key, many at the same time, each answered
// when it is on the disk.
func BenchmarkJoin(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	svc, err := tailnet.Open(ctx, s, tailnet.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer svc.Close()
	u, err := svc.CreateUser(ctx, tailnet.Actor{}, tailnet.DefaultTailnet, tailnet.UserParams{LoginName: "x"})
	if err != nil {
		b.Fatal(err)
	}
	_, secret, err := svc.CreateAuthKey(ctx, tailnet.Actor{}, tailnet.AuthKeyParams{UserID: u.ID, Reusable: true})
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(100)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p := tailnet.RegisterParams{Machine: key.NewMachine().Public(), NodeKey: key.NewNode().Public(), AuthKey: secret}
			if _, err := svc.Register(ctx, p); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	st := svc.Stats()
	b.ReportMetric(float64(st.Commands)/float64(st.Commits), "joins/commit")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "joins/s")
}
