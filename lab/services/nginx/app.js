window.settings = { api: "__API__" };
