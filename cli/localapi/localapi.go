// Package localapi is what a running skiff answers on its unix socket to commands
// on the same machine: state, images, stopping. The types here are the wire
// format, JSON over HTTP; platform serves them.
package localapi

import (
	"fmt"
	"io"
	"time"
)

// Socket is the name of the socket in the run directory.
const Socket = "skiff.sock"

// Status answers GET /status.
type Status struct {
	Version   string      `json:"version"`
	PID       int         `json:"pid"`
	StartedAt time.Time   `json:"startedAt"`
	Ready     bool        `json:"ready"`
	Instance  string      `json:"instance"` // in the names of interfaces, tables and control groups
	DataDir   string      `json:"dataDir"`
	API       string      `json:"api"` // URL
	Node      string      `json:"node"`
	NodeIP    string      `json:"nodeIP"`
	PodCIDR   string      `json:"podCIDR"`
	Services  string      `json:"serviceCIDR"`
	DNS       string      `json:"dns"`
	Runtime   string      `json:"runtime"`
	Pods      int         `json:"pods"`
	Running   int         `json:"runningContainers"`
	RSS       int64       `json:"rssBytes"` // of PIDs
	PIDs      []int       `json:"pids"`     // skiff and its monitor
	Steps     []Step      `json:"steps"`
	Parts     []Component `json:"components"`
	// Shortages tell, a line each, what the machine is short of, so that pods wait.
	Shortages []string `json:"shortages,omitempty"`
}

// PrintShortages tells people what keeps pods away.
func (s *Status) PrintShortages(w io.Writer) {
	for _, short := range s.Shortages {
		fmt.Fprintf(w, "  short of  %s; pods wait until there is more\n", short)
	}
}

// Step is one step of starting, with how long it took.
type Step struct {
	Name string        `json:"name"`
	Took time.Duration `json:"tookNanos"`
	Err  string        `json:"error,omitempty"`
	Hint string        `json:"hint,omitempty"`
}

// Component is one running part.
type Component struct {
	Name  string `json:"name"`
	State string `json:"state"` // "running", "failed"
	Err   string `json:"error,omitempty"`
}

// Image is one line of GET /images, and what POST /images/load and /images/pull
// answer.
type Image struct {
	ID      string    `json:"id"`
	Names   []string  `json:"names"`
	Digests []string  `json:"digests"`
	Size    int64     `json:"size"`
	Created time.Time `json:"created"`
}

// PullRequest is the body of POST /images/pull.
type PullRequest struct {
	Ref      string `json:"ref"`
	Insecure bool   `json:"insecure,omitempty"`
	User     string `json:"user,omitempty"`
	Secret   string `json:"secret,omitempty"`
}

// StreamLine is one line of a streamed answer: progress, then a result or an
// error.
type StreamLine struct {
	Progress *Progress `json:"progress,omitempty"`
	Images   []Image   `json:"images,omitempty"`
	Error    string    `json:"error,omitempty"`
	Done     bool      `json:"done,omitempty"`
}

// Progress of one piece of content.
type Progress struct {
	Digest string `json:"digest"`
	Kind   string `json:"kind"`
	Offset int64  `json:"offset"`
	Total  int64  `json:"total"`
	Done   bool   `json:"done"`
}

// StopRequest is the body of POST /stop.
type StopRequest struct {
	Containers bool `json:"containers"` // also stop every container
	// Grace is how long containers have to end by themselves.
	Grace time.Duration `json:"graceNanos,omitempty"`
}

// RotatedKey answers POST /secrets/rotate-key.
type RotatedKey struct {
	Key    string `json:"key"`    // the id of the key that seals now
	Sealed int    `json:"sealed"` // how many secrets were sealed again
}

// Error is the body of an answer that is not 2xx.
type Error struct {
	Message string `json:"message"`
}
