package crash

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"testing"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/admit"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/disk"
)

// storeDir tells the process that is killed where its store is.
const storeDir = "SKIFF_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(storeDir); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// serve is the process that is killed: store, cache, admission, TLS and HTTP/2, as in
// skiff up, without controllers and node. It says on its output where it listens.
func serve(dir string) error {
	s, err := disk.Open(dir, disk.Options{})
	if err != nil {
		return err
	}
	var chain admission.Chain
	for _, p := range admit.Default(admit.Options{}) {
		if p.Name() != "ServiceAccount" { // there is no controller that would make one
			chain = append(chain, p)
		}
	}
	srv, err := apiserver.New(context.Background(), apiserver.Options{
		Store: s, Table: all.Table(), Scheme: scheme.New(), Admission: append(chain, &admit.ResourceQuota{}),
	})
	if err != nil {
		return err
	}
	web := httptest.NewUnstartedServer(srv.Handler())
	web.EnableHTTP2 = true
	web.StartTLS()
	fmt.Println(web.URL)
	select {}
}
