package node

import (
	"encoding/json"
	"net/http"
	"time"

	v1 "k8s.io/api/core/v1"
)

// newHandler lays out the node's own API by the kubelet's paths.
func (n *Node) newHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok")) })
	mux.HandleFunc("GET /pods", n.servePods)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", n.serveLogs)
	// POST is what the API server sends; GET is how WebSockets begin.
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", n.serveExec)
	mux.HandleFunc("/exec/{namespace}/{pod}/{uid}/{container}", n.serveExec)
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", n.serveAttach)
	mux.HandleFunc("/attach/{namespace}/{pod}/{uid}/{container}", n.serveAttach)
	mux.HandleFunc("/portForward/{namespace}/{pod}", n.servePortForward)
	mux.HandleFunc("/portForward/{namespace}/{pod}/{uid}", n.servePortForward)
	mux.HandleFunc("GET /stats/summary", n.serveSummary)
	mux.HandleFunc("GET /metrics/resource", n.serveResourceMetrics)
	return mux
}

func (n *Node) servePods(w http.ResponseWriter, _ *http.Request) {
	list := v1.PodList{}
	list.Kind, list.APIVersion = "PodList", "v1"
	for _, p := range n.Pods() {
		list.Items = append(list.Items, *p)
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(&list)
}

// find returns the worker of a pod by name, the newest if there are two.
func (n *Node) find(namespace, name string) *worker {
	var best *worker
	var newest time.Time
	for _, w := range n.allWorkers() {
		w.mu.Lock()
		same, at := w.pod.Namespace == namespace && w.pod.Name == name, w.firstAt
		w.mu.Unlock()
		if same && (best == nil || at.After(newest)) {
			best, newest = w, at
		}
	}
	return best
}
