package vnet

import (
	"maps"
	"slices"
	"syscall"
	"time"
)

// room returns how many bytes may still be received.
func (c *TCPConn) room() int { return max(receiveBuffer-len(c.in), 0) }

// transmit sends one segment.
func (c *TCPConn) transmit(h tcpHeader, data []byte) {
	h.window = c.room()
	pkt := &Packet{Proto: TCP, Src: c.key.local, Dst: c.key.remote, TTL: defaultTTL, Data: append([]byte(nil), data...), tcp: h}
	_ = c.h.send(pkt)
}

func (c *TCPConn) sendAck() {
	if c.state == established {
		c.transmit(tcpHeader{seq: c.next, ack: c.expected, ok: true}, nil)
	}
}

// sendSyn sends the first segment of either side, and arms its repetition.
func (c *TCPConn) sendSyn() {
	if c.state != synSent && c.state != synReceived {
		return
	}
	c.transmit(tcpHeader{syn: true, ok: c.state == synReceived, ack: c.expected}, nil)
	c.next = 1
	if c.retries == 0 {
		c.timedSeq, c.timedAt = 1, time.Now()
	}
	c.arm()
}

// arm starts the timer of what is not acknowledged.
func (c *TCPConn) arm() {
	n := c.h.net
	n.cancel(c.timer)
	c.timer = n.after(c.rto, c.timeout)
}

// timeout sends again what was not acknowledged in time.
func (c *TCPConn) timeout() {
	c.timer = nil
	c.retries++
	limit := maxRetries
	if c.state != established {
		limit = synRetries
	}
	if c.retries > limit {
		c.fail(syscall.ETIMEDOUT)
		return
	}
	c.rto = min(c.rto*2, maxRTO)
	c.timedSeq = 0 // an answer would not tell which copy it answers
	if c.state != established {
		c.sendSyn()
		return
	}
	c.ssthresh = max(int(c.next-c.una)/2, 2*c.mss)
	c.cwnd = c.mss
	c.dupAcks, c.recover = 0, 0
	c.next = c.una
	c.window = max(c.window, c.mss) // asks a closed window
	c.output()
}

// end returns the sequence after all that there is to send, without FIN.
func (c *TCPConn) end() uint64 { return c.una + uint64(len(c.out)) }

// output sends what the windows let through.
func (c *TCPConn) output() {
	if c.state != established {
		return
	}
	if c.finWanted && c.finSeq == 1<<62 {
		c.finSeq = c.end()
	}
	for c.next < c.end() && int(c.next-c.una) < min(c.cwnd, c.window) {
		c.next += c.sendFrom(c.next)
	}
	if c.finWanted && c.next == c.finSeq {
		c.transmit(tcpHeader{seq: c.next, ack: c.expected, ok: true, fin: true}, nil)
		c.next++
	}
	if c.timer == nil && (c.next > c.una || c.next < c.end()) {
		c.arm()
	}
}

// sendFrom sends the segment that begins at seq and returns its length.
func (c *TCPConn) sendFrom(seq uint64) uint64 {
	data := c.out[min(seq-c.una, uint64(len(c.out))):]
	data = data[:min(len(data), c.mss)]
	if len(data) == 0 {
		return 0
	}
	if c.timedSeq == 0 && seq == c.next && c.retries == 0 {
		c.timedSeq, c.timedAt = seq+uint64(len(data)), time.Now()
	}
	c.transmit(tcpHeader{seq: seq, ack: c.expected, ok: true}, data)
	return uint64(len(data))
}

// input takes a segment.
func (c *TCPConn) input(pkt *Packet) {
	h := &pkt.tcp
	switch {
	case h.rst:
		if c.state == synSent {
			c.fail(syscall.ECONNREFUSED)
		} else {
			c.fail(syscall.ECONNRESET)
		}
		return
	case h.syn:
		c.inputSyn(h)
		return
	case c.state == synReceived && h.ok && h.ack >= 1:
		c.establish()
		if l := c.listener; l != nil {
			c.listener = nil
			if l.closed {
				c.abort()
				return
			}
			l.pending = append(l.pending, c)
			l.ready.signal()
		}
	}
	if c.state != established {
		return
	}
	if c.userClosed && len(pkt.Data) > 0 {
		c.abort() // nobody reads it any more
		return
	}
	c.inputAck(h, len(pkt.Data) == 0 && !h.fin)
	if c.err == nil && (len(pkt.Data) > 0 || h.fin) {
		c.inputData(pkt)
	}
	c.settle()
}

// inputSyn takes a SYN.
func (c *TCPConn) inputSyn(h *tcpHeader) {
	switch {
	case c.state == synSent && h.ok:
		c.expected = 1
		c.window = h.window
		c.establish()
		c.sendAck()
		c.output()
	case c.state == synReceived:
		c.expected = 1
		if c.timer == nil || c.retries > 0 {
			c.sendSyn()
		}
	case c.state == established:
		c.sendAck() // a repetition: our answer was lost
	}
}

// establish begins the exchange of data.
func (c *TCPConn) establish() {
	c.state = established
	c.una, c.next = 1, 1
	c.rto = synRetry
	if c.timedSeq == 1 {
		c.measured(time.Since(c.timedAt))
	}
	c.timedSeq, c.retries = 0, 0
	c.h.net.cancel(c.timer)
	c.timer = nil
	c.ready.signal()
}

// measured updates the retransmission timeout (RFC 6298).
func (c *TCPConn) measured(rtt time.Duration) {
	if c.srtt == 0 {
		c.srtt, c.rttvar = rtt, rtt/2
	} else {
		c.rttvar += (max(c.srtt-rtt, rtt-c.srtt) - c.rttvar) / 4
		c.srtt += (rtt - c.srtt) / 8
	}
	c.rto = min(max(c.srtt+4*c.rttvar, minRTO), maxRTO)
}

// inputAck takes the acknowledgement in a segment; pure says that it carries nothing else.
func (c *TCPConn) inputAck(h *tcpHeader, pure bool) {
	c.window = h.window
	switch {
	case h.ack > c.una && h.ack <= max(c.next, c.end()+1):
		c.acknowledged(h.ack)
	case h.ack == c.una && pure && c.next > c.una:
		c.dupAcks++
		if c.dupAcks == 3 && c.una >= c.recover {
			c.ssthresh = max(int(c.next-c.una)/2, 2*c.mss)
			c.cwnd = c.ssthresh
			c.recover = c.next
			c.sendFrom(c.una)
			c.arm()
		}
	}
	c.output()
}

// acknowledged drops what the other side has.
func (c *TCPConn) acknowledged(ack uint64) {
	acked := ack - c.una
	c.out = c.out[min(acked, uint64(len(c.out))):]
	if len(c.out) == 0 {
		c.out = nil
	}
	c.una = ack
	c.next = max(c.next, ack)
	c.dupAcks, c.retries = 0, 0
	if c.timedSeq != 0 && ack >= c.timedSeq {
		c.measured(time.Since(c.timedAt))
		c.timedSeq = 0
	}
	switch {
	case c.recover > ack:
		c.sendFrom(c.una) // the next hole
	case c.cwnd < c.ssthresh:
		c.cwnd += int(acked)
	default:
		c.cwnd += max(c.mss*c.mss/c.cwnd, 1)
	}
	c.cwnd = min(c.cwnd, sendBuffer)
	c.h.net.cancel(c.timer)
	c.timer = nil
	if c.next > c.una {
		c.arm()
	}
	c.ready.signal()
}

// inputData takes the data and the FIN of a segment.
func (c *TCPConn) inputData(pkt *Packet) {
	if pkt.tcp.seq+uint64(len(pkt.Data)) <= c.expected+uint64(c.room())+1 && len(c.early) < 1024 {
		c.early[pkt.tcp.seq] = pkt
	}
	for _, seq := range slices.Sorted(maps.Keys(c.early)) {
		p := c.early[seq]
		if seq > c.expected {
			break
		}
		delete(c.early, seq)
		if after := seq + uint64(len(p.Data)); after > c.expected {
			c.in = append(c.in, p.Data[c.expected-seq:]...)
			c.expected = after
		}
		if p.tcp.fin && !c.ended && seq+uint64(len(p.Data)) == c.expected {
			c.ended = true
			c.expected++
		}
	}
	c.sendAck()
	c.ready.signal()
}

// settle forgets a connection that both sides have closed.
func (c *TCPConn) settle() {
	if c.state == established && c.userClosed && c.ended && c.una > c.finSeq {
		c.err = syscall.ENOTCONN
		c.remove()
	}
}

// shrink makes segments fit a smaller path.
func (c *TCPConn) shrink(mtu int) {
	if mss := mtu - 72; mss < c.mss && mss > 0 {
		c.mss = mss
		c.next = c.una
		c.output()
	}
}
