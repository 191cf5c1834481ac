package packet

// Verdict is what is to become of a packet.
type Verdict uint8

// The verdicts. Everything but Accept means that the packet goes no further.
const (
	Drop            Verdict = iota // drop without a word
	Accept                         // let it pass
	RefuseACL                      // drop, and tell the sender that no rule allows it
	RefuseShieldsUp                // drop, and tell the sender that shields are up
)
