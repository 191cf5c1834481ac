package relay

import (
	"testing"

	rclient "github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/key"
)

// BenchmarkForward sends packets of 1,300 bytes from one client to another through a
// relay, all with TLS and in this process: its cost is that of two clients and the
// relay together.
func BenchmarkForward(b *testing.B) {
	r := startRelay(b, Config{QueueBytes: 8 << 20, QueuePackets: 1 << 14})
	dstKey := key.NewNode()
	dst := r.dial(b, rclient.Options{PrivateKey: dstKey})
	src := r.dial(b, rclient.Options{})
	const size, batch, window = 1300, 32, 2048
	pkts := make([][]byte, batch)
	for i := range pkts {
		pkts[i] = make([]byte, size)
	}
	credit := make(chan struct{}, window/batch)
	done := make(chan error, 1)
	total := (b.N + batch - 1) / batch * batch
	go func() {
		for n := 0; n < total; {
			m, err := dst.Recv()
			if err != nil {
				done <- err
				return
			}
			if m.Kind == rclient.KindPacket {
				if n++; n%batch == 0 {
					<-credit
				}
			}
		}
		done <- nil
	}()
	to := dstKey.Public()
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < total; n += batch {
		credit <- struct{}{}
		if err := src.SendBatch(to, pkts); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
