// Command differ plays files of requests (in the format of package recorded, without
// answers) against two servers and prints, as one line of JSON each, the steps whose
// normalised answers differ:
//
//	differ -reference real.kubeconfig -under skiff.kubeconfig FILE...
//
// With -record DIR it asks only the reference, and writes the files with its answers
// into DIR: test/recorded/testdata/answers has such files.
//
// The reference is a kube-apiserver with the options that the recorded answers were
// made with. Steps with until wait for no controller longer than -wait.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"skiff.dev/skiff/test/recorded"
	"skiff.dev/skiff/test/recorded/tree"
)

// Difference is what is printed of a step.
type Difference struct {
	File, About, Method, Path string
	Step                      int
	Diff                      string
}

func main() {
	reference := flag.String("reference", "", "kubeconfig of the server that is right")
	under := flag.String("under", "", "kubeconfig of the server that is looked at")
	wait := flag.Duration("wait", 200*time.Millisecond, "how long steps wait for what controllers do")
	dir := flag.String("record", "", "directory for the files with the answers of the reference")
	flag.Parse()
	var err error
	if *dir != "" {
		err = recordAll(*reference, *dir, *wait, flag.Args())
	} else {
		err = run(*reference, *under, *wait, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "differ:", err)
		os.Exit(1)
	}
}

func run(reference, under string, wait time.Duration, paths []string) error {
	right, err := player(reference, wait)
	if err != nil {
		return err
	}
	ours, err := player(under, wait)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	steps, differ := 0, 0
	for _, path := range paths {
		f, err := recorded.Read(path)
		if err != nil {
			return err
		}
		want, got, err := both(right, ours, f)
		if err != nil {
			return err
		}
		for i := range want {
			if !want[i].Compared {
				continue
			}
			steps++
			if tree.Canonical(want[i].Got) == tree.Canonical(got[i].Got) {
				continue
			}
			differ++
			s := want[i].Step
			if err := out.Encode(Difference{f.Name, s.About, s.Method, s.Path, i, recorded.Diff(want[i].Got, got[i].Got)}); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(os.Stderr, "%d of %d steps are equal\n", steps-differ, steps)
	return nil
}

// both plays a file on the two servers at once.
func both(right, ours *recorded.Player, f *recorded.File) (want, got []recorded.Result, err error) {
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { want, errs[0] = right.Play(context.Background(), f) })
	wg.Go(func() { got, errs[1] = ours.Play(context.Background(), f) })
	wg.Wait()
	if errs[0] != nil {
		return nil, nil, fmt.Errorf("reference: %w", errs[0])
	}
	return want, got, errs[1]
}

// player speaks to the server of a kubeconfig with the credentials in it.
func player(kubeconfig string, wait time.Duration) (*recorded.Player, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.DisableCompression = true
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	return &recorded.Player{URL: strings.TrimSuffix(config.Host, "/"), Wait: wait, Client: &http.Client{
		Transport:     lenient{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// lenient turns a connection that broke while a request was served, which is what a
// server that panics leaves, into an answer that can be compared.
type lenient struct{ http.RoundTripper }

func (l lenient) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		return res, nil
	}
	return &http.Response{
		Status: "broken", StatusCode: http.StatusBadGateway, Proto: r.Proto, Request: r,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader("broken connection")),
	}, nil
}
