package apiserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/etcd"
	"skiff.dev/skiff/store/etcd/member"
	"skiff.dev/skiff/store/mem"
)

// twoServers are API servers that share one etcd.
func twoServers(t *testing.T, services string) [2]*apiserver.Server {
	t.Helper()
	ctx := context.Background()
	m, err := member.Start(ctx, member.Options{
		Dir: t.TempDir(), Name: "a", PeerListen: "127.0.0.1:0", ClientListen: "127.0.0.1:0", Unsafe: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	var out [2]*apiserver.Server
	for i := range out {
		s, err := etcd.Open(ctx, etcd.Options{Endpoints: []string{m.ClientAddress()}})
		if err != nil {
			t.Fatal(err)
		}
		srv, err := apiserver.New(ctx, apiserver.Options{
			Store: s, Table: all.Table(), Scheme: scheme.New(), ServiceCIDR: netip.MustParsePrefix(services), NodePortRange: [2]int{30000, 30129},
			Advertise: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 6443),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { srv.Close(); s.Close() })
		out[i] = srv
	}
	return out
}

// ask sends one request and decodes what is answered.
func ask(t *testing.T, s *apiserver.Server, method, path, body string, into any) int {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	if into != nil && w.Code < 300 {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	return w.Code
}

// TestReadsSeeTheOtherServersWrites: what one server has answered is seen by the next
// request to the other, whatever it does.
func TestReadsSeeTheOtherServersWrites(t *testing.T) {
	two := twoServers(t, "10.96.0.0/24")
	//lint:ignore SA1019 clients read them
	var where corev1.Endpoints
	if code := ask(t, two[0], "GET", "/api/v1/namespaces/default/endpoints/kubernetes", "", &where); code != 200 || len(where.Subsets) != 1 || len(where.Subsets[0].Addresses) != 2 {
		t.Errorf("the API's endpoints are %+v", where.Subsets)
	}
	var cm corev1.ConfigMap
	for i := range 30 {
		a, b := two[i%2], two[1-i%2]
		ns, name := fmt.Sprint("ns", i), fmt.Sprint("c", i)
		expect := func(what string, got, want int) {
			t.Helper()
			if got != want {
				t.Fatalf("round %d: %s: %d, want %d", i, what, got, want)
			}
		}
		expect("create a namespace", ask(t, a, "POST", "/api/v1/namespaces", `{"metadata":{"name":"`+ns+`"}}`, nil), 201)
		path := "/api/v1/namespaces/" + ns + "/configmaps"
		expect("create in it", ask(t, b, "POST", path, `{"metadata":{"name":"`+name+`"},"data":{"n":"1"}}`, nil), 201)
		expect("create again", ask(t, a, "POST", path, `{"metadata":{"name":"`+name+`"}}`, nil), 409)
		expect("get", ask(t, a, "GET", path+"/"+name, "", &cm), 200)
		rv := cm.ResourceVersion
		cm = corev1.ConfigMap{}
		expect("update", ask(t, a, "PUT", path+"/"+name, `{"metadata":{"name":"`+name+`","resourceVersion":"`+rv+`"},"data":{"n":"2"}}`, &cm), 200)
		expect("update an older state", ask(t, b, "PUT", path+"/"+name, `{"metadata":{"name":"`+name+`","resourceVersion":"`+rv+`"},"data":{"n":"3"}}`, nil), 409)
		var list corev1.ConfigMapList
		expect("list at its revision", ask(t, b, "GET", path+"?resourceVersion="+cm.ResourceVersion, "", &list), 200)
		if len(list.Items) != 1 || list.Items[0].Data["n"] != "2" {
			t.Fatalf("round %d: the list has %d objects", i, len(list.Items))
		}
		expect("a revision to come", ask(t, b, "GET", path+"?resourceVersion=99999999", "", nil), 504)
		expect("delete", ask(t, b, "DELETE", path+"/"+name, "", nil), 200)
		expect("get what is gone", ask(t, a, "GET", path+"/"+name, "", nil), 404)
		expect("delete what is gone", ask(t, a, "DELETE", path+"/"+name, "", nil), 404)
	}
}

// TestNumbersAreUniqueAmongServers: two servers give out the addresses and node ports
// of small ranges at once, no number twice, every address in the end, and what one
// takes back the other gives.
func TestNumbersAreUniqueAmongServers(t *testing.T) {
	two := twoServers(t, "10.96.0.0/25") // 126 addresses, one of them the API's, and 130 ports
	const path = "/api/v1/namespaces/default/services"
	ask(t, two[0], "POST", "/api/v1/namespaces", `{"metadata":{"name":"default"}}`, nil)
	for round := range 2 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		addresses, ports := map[string]string{}, map[int32]string{}
		create := func(i int) bool {
			name := fmt.Sprintf("s%d", i)
			var svc corev1.Service
			code := ask(t, two[i%2], "POST", path, `{"metadata":{"name":"`+name+`"},"spec":{"type":"NodePort","ports":[{"port":80}]}}`, &svc)
			if code != 201 {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			if other := addresses[svc.Spec.ClusterIP]; other != "" {
				t.Errorf("%s and %s have the address %s", name, other, svc.Spec.ClusterIP)
			}
			if other := ports[svc.Spec.Ports[0].NodePort]; other != "" {
				t.Errorf("%s and %s have the node port %d", name, other, svc.Spec.Ports[0].NodePort)
			}
			addresses[svc.Spec.ClusterIP], ports[svc.Spec.Ports[0].NodePort] = name, name
			return true
		}
		// What is tried and what is held never fill the range: none may be refused.
		for i := range 62 {
			wg.Go(func() {
				if !create(i) {
					t.Errorf("round %d: service %d was refused", round, i)
				}
			})
		}
		wg.Wait()
		for i := 62; create(i); i++ {
		}
		if len(addresses) != 125 {
			t.Errorf("round %d: %d addresses were given, there are 125", round, len(addresses))
		}
		for ip, name := range addresses {
			// One that the other server gave away is refused by name.
			if code := ask(t, two[round%2], "POST", path, `{"metadata":{"name":"again"},"spec":{"clusterIP":"`+ip+`","ports":[{"port":80}]}}`, nil); code != 422 {
				t.Errorf("%s of %s was given again: %d", ip, name, code)
			}
			if code := ask(t, two[(round+1)%2], "DELETE", path+"/"+name, "", nil); code != 200 {
				t.Errorf("delete %s: %d", name, code)
			}
		}
	}
}

// TestReservationsAreMended: a store from before they were kept gets them, one whose
// holder is gone is taken back.
func TestReservationsAreMended(t *testing.T) {
	ctx := context.Background()
	s := mem.New()
	start := func() *apiserver.Server {
		srv, err := apiserver.New(ctx, apiserver.Options{Store: s, Table: all.Table(), Scheme: scheme.New()})
		if err != nil {
			t.Fatal(err)
		}
		return srv
	}
	srv := start()
	const path = "/api/v1/namespaces/default/services"
	if code := ask(t, srv, "POST", path, `{"metadata":{"name":"s"},"spec":{"clusterIP":"10.96.0.77","ports":[{"port":80}]}}`, nil); code != 201 {
		t.Fatal(code)
	}
	srv.Close()
	const root = "/skiff/reserved/services/address/"
	if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: root + "10.96.0.77", Delete: true}, {Key: root + "10.96.0.88", Value: []byte("d/gone")}}}); err != nil {
		t.Fatal(err)
	}
	srv = start()
	defer srv.Close()
	for ip, want := range map[string]int{"10.96.0.77": 1, "10.96.0.88": 0} {
		res, err := s.Range(ctx, store.Range{Start: root + ip})
		if err != nil || res.Count != want {
			t.Errorf("%s: %d reservations, want %d: %v", ip, res.Count, want, err)
		}
	}
	if code := ask(t, srv, "POST", path, `{"metadata":{"name":"t"},"spec":{"clusterIP":"10.96.0.88","ports":[{"port":80}]}}`, nil); code != 201 {
		t.Errorf("an address that was taken back: %d", code)
	}
	if code := ask(t, srv, "DELETE", path+"/s", "", nil); code != 200 {
		t.Errorf("delete: %d", code)
	}
	if res, err := s.Range(ctx, store.Range{Start: root + "10.96.0.77"}); err != nil || res.Count != 0 {
		t.Errorf("the reservation of a deleted service stays: %v", err)
	}
}

// busy is a store that somebody has always just written to.
type busy struct{ store.Store }

func (b busy) Revision() int64 {
	rev, err := b.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: "/registry/x/y/z", Value: []byte("v")}}})
	if err != nil {
		return b.Store.Revision()
	}
	return rev
}

// TestErrorsAreAnsweredUnderWrites: an error counts once the cache shows the time of
// the request, however much is written.
func TestErrorsAreAnsweredUnderWrites(t *testing.T) {
	s := mem.New()
	srv, err := apiserver.New(context.Background(), apiserver.Options{Store: busy{s}, Table: all.Table(), Scheme: scheme.New()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close(); s.Close() })
	for _, method := range []string{"DELETE", "PUT"} {
		if code := ask(t, srv, method, "/api/v1/namespaces/default/pods/none", `{"metadata":{"name":"none"},"spec":{"containers":[{"name":"c","image":"x"}]}}`, nil); code != 404 {
			t.Errorf("%s: %d", method, code)
		}
	}
}
