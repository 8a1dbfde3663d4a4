// What integrity sidecars do: walk a directory, hash every regular file with SHA-256 in some workers, print `HASH  path`.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

func main() {
	paths := make(chan string, 1024)
	lines := make(chan string, 1024)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for path := range paths {
				lines <- hash(path) + "  " + path
			}
		}()
	}
	go func() {
		err := filepath.WalkDir(os.Args[1], func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				paths <- path
			}
			return err
		})
		if err != nil {
			fail(err)
		}
		close(paths)
		workers.Wait()
		close(lines)
	}()
	out := bufio.NewWriter(os.Stdout)
	for line := range lines {
		fmt.Fprintln(out, line)
	}
	if err := out.Flush(); err != nil {
		fail(err)
	}
}

func hash(path string) string {
	file, err := os.Open(path)
	if err != nil {
		fail(err)
	}
	defer file.Close()
	hasher := sha256.New()
	if _, err := io.Copy(hasher, file); err != nil {
		fail(err)
	}
	return hex.EncodeToString(hasher.Sum(nil))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
