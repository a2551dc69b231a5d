package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// metrics is an extension API server: it serves metrics.k8s.io/v1beta1 from what the
// nodes' /stats/summary say, under a certificate for name, which it makes itself and
// prints as an APIService takes it. It answers nobody but the front proxy, of which it
// learns as extension servers do, and only for a user that the proxy names.
func metrics(port, name string) {
	cert, bundle := selfSigned(name)
	var config struct {
		Data map[string]string `json:"data"`
	}
	if err := ask("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication", &config); err != nil {
		log.Fatal(err)
	}
	proxies := x509.NewCertPool()
	if !proxies.AppendCertsFromPEM([]byte(config.Data["requestheader-client-ca-file"])) {
		log.Fatal("standin: no authority of front proxies")
	}
	m := &meter{last: map[string]sample{}}
	go func() {
		for {
			if err := m.measure(); err != nil {
				log.Print(err)
			}
			time.Sleep(time.Second)
		}
	}()
	fmt.Println(bundle)
	s := &http.Server{Addr: ":" + port, Handler: proxied(m), ReadHeaderTimeout: 10 * time.Second, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: proxies}}
	log.Fatal(s.ListenAndServeTLS("", ""))
}

// proxied lets the front proxy in.
func proxied(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := r.Header.Get("X-Remote-User")
		if len(r.TLS.VerifiedChains) == 0 || user == "" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		fmt.Println("asked by", user, "for", r.URL.Path)
		next.ServeHTTP(w, r)
	})
}

// ask reads an answer of the cluster's API as the pod's service account.
func ask(path string, into any) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(read(account + "ca.crt"))
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	server := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	req, err := http.NewRequest(http.MethodGet, "https://"+server+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+string(read(account+"token")))
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, data)
	}
	return json.Unmarshal(data, into)
}

// sample is what one container had used at a time.
type sample struct {
	at    time.Time
	nanos uint64
}

type usage struct {
	cpu, memory uint64 // billionths of a core, bytes
}

func (u usage) quantities() map[string]string {
	return map[string]string{"cpu": fmt.Sprintf("%dn", u.cpu), "memory": fmt.Sprintf("%dKi", u.memory/1024)}
}

// meter keeps the last figures.
type meter struct {
	last map[string]sample

	mu    sync.Mutex
	nodes []map[string]any
	pods  []map[string]any
}

func (m *meter) measure() error {
	var list struct {
		Items []struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		} `json:"items"`
	}
	if err := ask("/api/v1/nodes", &list); err != nil {
		return err
	}
	var nodes, pods []map[string]any
	now := time.Now().UTC().Format(time.RFC3339)
	for _, n := range list.Items {
		var s struct {
			Node struct {
				Memory struct {
					WorkingSetBytes uint64 `json:"workingSetBytes"`
				} `json:"memory"`
			} `json:"node"`
			Pods []struct {
				PodRef     struct{ Name, Namespace string } `json:"podRef"`
				Containers []struct {
					Name string `json:"name"`
					CPU  struct {
						Time                 time.Time `json:"time"`
						UsageCoreNanoSeconds uint64    `json:"usageCoreNanoSeconds"`
					} `json:"cpu"`
					Memory struct {
						WorkingSetBytes uint64 `json:"workingSetBytes"`
					} `json:"memory"`
				} `json:"containers"`
			} `json:"pods"`
		}
		if err := ask("/api/v1/nodes/"+n.Metadata.Name+"/proxy/stats/summary", &s); err != nil {
			return err
		}
		total := usage{memory: s.Node.Memory.WorkingSetBytes}
		for _, p := range s.Pods {
			var containers []map[string]any
			for _, c := range p.Containers {
				key := p.PodRef.Namespace + "/" + p.PodRef.Name + "/" + c.Name
				u := usage{memory: c.Memory.WorkingSetBytes}
				if before, ok := m.last[key]; ok && c.CPU.Time.After(before.at) && c.CPU.UsageCoreNanoSeconds >= before.nanos {
					u.cpu = uint64(float64(c.CPU.UsageCoreNanoSeconds-before.nanos) / c.CPU.Time.Sub(before.at).Seconds())
				}
				m.last[key] = sample{c.CPU.Time, c.CPU.UsageCoreNanoSeconds}
				total.cpu += u.cpu
				containers = append(containers, map[string]any{"name": c.Name, "usage": u.quantities()})
			}
			pods = append(pods, map[string]any{"metadata": map[string]any{"name": p.PodRef.Name, "namespace": p.PodRef.Namespace},
				"timestamp": now, "window": "1s", "containers": containers})
		}
		nodes = append(nodes, map[string]any{"metadata": map[string]any{"name": n.Metadata.Name}, "timestamp": now, "window": "1s", "usage": total.quantities()})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes, m.pods = nodes, pods
	return nil
}

const metricsVersion = "metrics.k8s.io/v1beta1"

// ServeHTTP answers discovery, the nodes, the pods of all namespaces or of one, and one
// of either.
func (m *meter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/apis/"+metricsVersion)
	if !ok {
		http.NotFound(w, r)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	namespace := ""
	if len(parts) > 2 && parts[0] == "namespaces" {
		namespace, parts = parts[1], parts[2:]
	}
	var out map[string]any
	switch {
	case parts[0] == "":
		verbs := []string{"get", "list"}
		out = map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": metricsVersion, "resources": []map[string]any{
			{"name": "nodes", "singularName": "", "namespaced": false, "kind": "NodeMetrics", "verbs": verbs},
			{"name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": verbs}}}
	case parts[0] == "nodes":
		out = pick("NodeMetrics", m.nodes, "", parts[1:])
	case parts[0] == "pods":
		out = pick("PodMetrics", m.pods, namespace, parts[1:])
	}
	w.Header().Set("Content-Type", "application/json")
	if out == nil {
		w.WriteHeader(http.StatusNotFound)
		out = map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": r.URL.Path + " not found"}
	}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		log.Print(err)
	}
}

func pick(kind string, all []map[string]any, namespace string, name []string) map[string]any {
	items := []map[string]any{}
	for _, o := range all {
		meta := o["metadata"].(map[string]any)
		if namespace != "" && meta["namespace"] != namespace {
			continue
		}
		if len(name) > 0 && meta["name"] == name[0] {
			one := map[string]any{"kind": kind, "apiVersion": metricsVersion}
			for k, v := range o {
				one[k] = v
			}
			return one
		}
		items = append(items, o)
	}
	if len(name) > 0 {
		return nil
	}
	return map[string]any{"kind": kind + "List", "apiVersion": metricsVersion, "metadata": map[string]any{}, "items": items}
}
