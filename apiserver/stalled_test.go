package apiserver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// TestStalledWatcher: of 200 watchers, on connections that they share, one takes
// nothing. The others and the writer do not notice, and when it goes on it gets
// everything.
func TestStalledWatcher(t *testing.T) {
	const watchers, events = 200, 60
	srv := benchServer(t)
	web := httptest.NewUnstartedServer(srv.Handler())
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	clients := make([]*http.Client, 8)
	for i := range clients {
		tr := web.Client().Transport.(*http.Transport).Clone()
		clients[i] = &http.Client{Transport: tr}
		t.Cleanup(tr.CloseIdleConnections)
	}
	const maps = "/api/v1/namespaces/default/configmaps"
	watch := func(i int) io.ReadCloser {
		r, err := http.NewRequestWithContext(ctx, "GET", web.URL+maps+"?watch=true&resourceVersion=0&fieldSelector=metadata.name%3Dbig", nil)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 { // the others need not be busy with much
			r.Header.Set("Accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
		}
		resp, err := clients[i%len(clients)].Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ProtoMajor != 2 {
			t.Fatalf("the connection speaks %s", resp.Proto)
		}
		return resp.Body
	}
	read := func(body io.Reader) error {
		in := bufio.NewReader(body)
		for n := range events {
			line, err := in.ReadString('\n')
			if err != nil {
				return fmt.Errorf("event %d: %w", n, err)
			}
			if !strings.Contains(line, fmt.Sprintf(`"n":"%d"`, n)) {
				return fmt.Errorf("event %d is %.200s", n, line)
			}
		}
		return nil
	}
	stalled := watch(0)
	var wg sync.WaitGroup
	for i := 1; i < watchers; i++ {
		body := watch(i)
		wg.Go(func() {
			if err := read(body); err != nil {
				t.Errorf("watcher %d: %v", i, err)
			}
		})
	}
	// More than any window of HTTP/2: the stalled stream's writes wait.
	pad := strings.Repeat("x", 200<<10)
	do(t, srv.Handler(), "POST", maps, "application/json", "application/json", fmt.Appendf(nil, `{"metadata":{"name":"big","labels":{"n":"0"}},"data":{"pad":"%s"}}`, pad))
	for n := 1; n < events; n++ {
		do(t, srv.Handler(), "PATCH", maps+"/big", "application/merge-patch+json", "application/json", fmt.Appendf(nil, `{"metadata":{"labels":{"n":"%d"}}}`, n))
	}
	wg.Wait()
	if err := read(stalled); err != nil {
		t.Errorf("the stalled watcher, reading again: %v", err)
	}
}
