package h2

import (
	"net/http"
	"sync"
)

// Handlers run in goroutines that are used again: the stack of a new one is small, and
// growing it costs more than most handlers' own work.

type job struct {
	st *stream
	h  http.Handler
	r  *http.Request
}

// mostIdle is how many goroutines wait for a handler at most.
const mostIdle = 64

// idle are the goroutines that wait, the last to have worked first.
var idle struct {
	sync.Mutex
	all []chan job
}

// start runs a handler.
func start(j job) {
	idle.Lock()
	n := len(idle.all)
	if n == 0 {
		idle.Unlock()
		go work(make(chan job, 1), j)
		return
	}
	w := idle.all[n-1]
	idle.all[n-1] = nil
	idle.all = idle.all[:n-1]
	idle.Unlock()
	w <- j // has room: one job is given to who is idle
}

func work(w chan job, j job) {
	for {
		j.st.run(j.h, j.r)
		j = job{}
		idle.Lock()
		if len(idle.all) >= mostIdle {
			idle.Unlock()
			return
		}
		idle.all = append(idle.all, w)
		idle.Unlock()
		j = <-w
	}
}
