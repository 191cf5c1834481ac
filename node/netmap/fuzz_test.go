package netmap

import (
	"encoding/json"
	"testing"

	"github.com/ginnel/ginnel/wire/control"
)

// FuzzApply feeds two frames to a Builder and checks what every Map promises.
func FuzzApply(f *testing.F) {
	f.Add([]byte(`{"Node":`+nodeJSON(1)+`,"Peers":[`+nodeJSON(2)+`,null,`+nodeJSON(2)+`]}`), []byte(`{"PeersRemoved":[2,3]}`))
	f.Add([]byte(`{"Node":{"ID":0,"Addresses":null}}`), []byte(`{"PeersChangedPatch":[{"NodeID":2,"Key":"`+nodeKey(1).String()+`"}]}`))
	f.Add([]byte(`{"Node":{},"DERPMap":{"Regions":{"1":null}},"PacketFilters":{"*":null}}`), []byte(`{"Node":`+nodeJSON(2)+`,"PeersChanged":[{"ID":-5}]}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var b Builder
		for _, text := range [][]byte{first, second} {
			var resp control.MapResponse
			if json.Unmarshal(text, &resp) != nil {
				continue
			}
			m, _, err := b.Apply(&resp, t0)
			if err != nil || m == nil {
				continue
			}
			last := control.NodeID(0)
			for _, p := range m.Peers {
				if p == nil || p.ID <= last {
					t.Fatal("peers are not in order, or one is nil")
				}
				last = p.ID
				if p.ID == m.Self.ID || m.Peer(p.ID) != p {
					t.Fatalf("peer %d is the node itself, or is not found", p.ID)
				}
				m.Expired(p, t0)
				m.NodeByName(p.Name)
			}
			m.NextExpiry(t0)
			if _, err := json.Marshal(m.Response()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
