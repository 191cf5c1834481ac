package lab

import (
	"runtime"
	"sync"
)

// holdFinalizers keeps the finalizers of this process from running. The WireGuard library
// drains the queues of a removed peer in one; a channel of a bubble must not be touched
// by a goroutine that is not of the bubble, and the runtime's finalizer goroutine never
// is. What has a finalizer is not freed from then on, which tests can afford.
var holdFinalizers = sync.OnceFunc(func() {
	running := make(chan struct{})
	func() {
		bait := new([64]byte)
		runtime.SetFinalizer(bait, func(*[64]byte) {
			close(running)
			select {}
		})
	}()
	for {
		runtime.GC()
		select {
		case <-running:
			return
		default:
			runtime.Gosched()
		}
	}
})
