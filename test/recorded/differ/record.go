package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"skiff.dev/skiff/test/recorded"
	"skiff.dev/skiff/test/recorded/tree"
)

// recordAll plays files on the reference and writes each, with the answers, into dir.
func recordAll(reference, dir string, wait time.Duration, paths []string) error {
	p, err := player(reference, wait)
	if err != nil {
		return err
	}
	for _, path := range paths {
		f, err := recorded.Read(path)
		if err != nil {
			return err
		}
		results, err := p.Play(context.Background(), f)
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		out, err := answered(raw, results)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), out, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// answered is a file with what was answered to its steps.
func answered(raw []byte, results []recorded.Result) ([]byte, error) {
	var f map[string]any
	if err := tree.Decode(raw, &f); err != nil {
		return nil, err
	}
	steps, _ := f["steps"].([]any)
	for i, r := range results {
		step, is := steps[i].(map[string]any)
		if !is || !r.Compared {
			continue
		}
		step["status"], step["response"] = r.Got.Status, r.Got.Body
		if len(r.Got.Headers) > 0 {
			step["responseHeaders"] = r.Got.Headers
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(f)
	return b.Bytes(), err
}
