<?php
$name = bin2hex(random_bytes(8)) . '.txt';
file_put_contents("/var/www/html/uploads/$name", file_get_contents('php://input'));
echo $name;
